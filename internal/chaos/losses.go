package chaos

import (
	"context"
	"slices"
	"sync"
	"time"
)

// losses are the times in which the record of a client may be lost, since a fault may
// have cost it its session: nobody can ask that it be there. Outside of them a record
// that is wanted is never absent.
type losses struct {
	mu       sync.Mutex
	all      []*span   // of all clients
	byClient [][]*span // of each
	stalls   int
	slow     time.Duration // when servers were last seen to be slow
}

// A span of time. Its end is 0 while it lasts.
type span struct {
	from, to time.Duration
	late     bool // what it allows may come when all seems settled
}

func newLosses(clients int) *losses { return &losses{byClient: make([][]*span, clients)} }

// begin notes that a client, or all of them if that is -1, may lose records from now on,
// until after the span was ended.
func (l *losses) begin(client int, now time.Duration) *span {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &span{from: now}
	if client < 0 {
		l.all = append(l.all, s)
	} else {
		l.byClient[client] = append(l.byClient[client], s)
	}
	return s
}

func (l *losses) end(s *span, now time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.to = now
}

// endLate ends a span that is not over before then, whatever has settled.
func (l *losses) endLate(s *span, then time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.to, s.late = then, true
}

// during returns, as bits, the clients that may lack records in some part of the time
// from call to ret.
func (l *losses) during(call, ret time.Duration) (clients uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	hit := func(spans []*span) bool {
		for _, s := range spans {
			if s.from <= ret && (s.to == 0 || s.to >= call) {
				return true
			}
		}
		return false
	}
	if hit(l.all) {
		return ^uint64(0)
	}
	for n, spans := range l.byClient {
		if hit(spans) {
			clients |= 1 << n
		}
	}
	return clients
}

// expect notes that anybody may lose records in a time to come, whatever has settled.
func (l *losses) expect(from, to time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, &span{from, to, true})
}

// watchStalls takes a machine that stands still for more than limit for a fault that
// may cost anybody the session, since renewals were late by as much.
func (l *losses) watchStalls(ctx context.Context, limit time.Duration, now func() time.Duration) {
	const every = 20 * time.Millisecond
	for last := now(); pause(ctx, every); {
		at := now()
		if at-last > every+limit {
			s := l.begin(-1, last)
			l.end(s, at+recovery)
			l.mu.Lock()
			l.stalls++
			l.mu.Unlock()
		}
		last = at
	}
}

// settled ends all spans but late ones: nothing is lost at the moment.
func (l *losses) settled(now time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = slices.DeleteFunc(l.all, func(s *span) bool { return !s.late || s.to < now })
	clear(l.byClient)
}

// wereSlow ends a span in which servers were slow.
func (l *losses) wereSlow(s *span, now time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.to, l.slow = now+recovery, now
}

func (l *losses) lastSlow() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.slow
}

func (l *losses) seenStalls() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stalls
}

// drop takes back a span: nothing was wrong.
func (l *losses) drop(s *span) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = slices.DeleteFunc(l.all, func(o *span) bool { return o == s })
}

// canary is the record that is written to see whether the servers can.
var canary = key{"canary", "canary", -1}

// watchServers writes to the registry, past all links, and takes a write that needs more
// than limit for a fault that may cost anybody the session: the servers are slow.
func (r *run) watchServers(ctx context.Context, limit time.Duration) {
	for m := 0; pause(ctx, 300*time.Millisecond); m = (m + 1) % r.w.cluster.size() {
		began := r.now()
		s := r.losses.begin(-1, began)
		err := r.w.plant(m, canary, []byte("x"))
		if took := r.now() - began; err == nil && took < limit {
			r.losses.drop(s)
		} else {
			r.losses.wereSlow(s, r.now())
			r.counts.add("slow-servers", 1)
		}
	}
}

// retried is how long Consul waits from one attempt to end a session to the next: 10 s at
// first, then twice as long each time. Which of them it is, its log does not tell.
var retried = []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second, 160 * time.Second}

// watchExpiries notes when servers may end sessions that they once took for expired.
func (r *run) watchExpiries(ctx context.Context) {
	const every = 300 * time.Millisecond
	seen := make([]int, r.w.cluster.size())
	for pause(ctx, every) {
		for m := range seen {
			n := r.w.failedExpiries(m)
			if n > seen[m] {
				r.counts.add("expiries-failed", n-seen[m])
				for _, wait := range retried {
					r.losses.expect(r.now()+wait-time.Second, r.now()+wait+recovery)
				}
			}
			seen[m] = n // fewer, if it was started again
		}
	}
}
