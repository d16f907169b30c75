package registry

import (
	"context"
	"errors"
	"slices"
	"time"
)

// The keeper is the only writer of a Registry. It holds what is wanted (an
// entry for each service and ID) and one session, and brings the registry to
// what is wanted: one batch at a time, from one goroutine. So an update, a
// withdrawal and a registration cannot race, and what was withdrawn cannot come
// back: after the loss of a session every entry is merely to be written again.
type keeper struct {
	c    *core
	wake chan struct{} // capacity 1: there may be something to write
	done chan struct{} // closed when run has returned; nil before it starts

	mu      logMutex
	entries map[key]*entry
	left    map[key]leftover // by sessions that are over
	ready   []*entry         // to be written now
	later   []*entry         // to be written when they are due
	gen     uint64           // the newest wish of any entry

	ttl     time.Duration           // granted to the session
	since   time.Time               // when it was opened
	proven  time.Time               // until when the session is alive for certain
	doubt   error                   // why the newest renewal failed, or why there is no session
	away    bool                    // it is known that no session can be had
	abandon context.CancelCauseFunc // ends the session under way; nil if there is none
	news    news
	timers  timers
}

var (
	errAbandoned = errors.New("the session was given up: nothing is registered any more, and a withdrawal is unconfirmed")
	errUnended   = errors.New("the session is taken for lost, and no server has confirmed that: what it held stays until it runs out")
	errNotYet    = errors.New("not written yet")
	errTaken     = errors.New("somebody else has deleted the record, or taken it over")
)

func newKeeper(c *core) *keeper {
	k := &keeper{c: c, mu: logMutex{log: c.log}, wake: make(chan struct{}, 1), entries: map[key]*entry{}, left: map[key]leftover{}, ttl: c.opts.TTL}
	k.timers.mu = &k.mu
	return k
}

// wish records that e is wanted otherwise than before. k.mu is held.
func (k *keeper) wish(e *entry) waiter {
	k.gen++
	e.gen = k.gen
	w := waiter{e.gen, make(chan error, 1)}
	e.waiters = append(e.waiters, w)
	k.enqueue(e)
	return w
}

// enqueue has e written, at once even if it failed before. k.mu is held.
func (k *keeper) enqueue(e *entry) {
	e.due = time.Time{}
	if !e.queued {
		e.queued = true
		k.ready = append(k.ready, e)
	}
	k.nudge()
}

func (k *keeper) nudge() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// start runs the keeper at the first registration. k.mu is held.
func (k *keeper) start() {
	if k.done == nil {
		k.done = make(chan struct{})
		go k.run()
	}
}

// close ends the session and waits for run. What was registered is withdrawn
// with the session, in one request.
func (k *keeper) close() error {
	k.mu.Lock()
	done := k.done
	k.mu.Unlock()
	if done == nil {
		return nil
	}
	<-done
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range k.entries {
		if e.want != nil {
			k.gen++
			e.want.gone = k.gen
		}
		k.finish(e, ErrClosed)
	}
	var why error
	for _, left := range k.left {
		why = left.why
	}
	return why
}

// finish ends what is wanted of e for good. k.mu is held.
func (k *keeper) finish(e *entry, why error) {
	if e.want != nil {
		e.want.end(why)
	}
	e.want = nil
	e.tell(k.gen, why)
	delete(k.entries, e.key)
}

// wait waits for w, a wish of e.
func (k *keeper) wait(ctx context.Context, e *entry, w waiter) error {
	select {
	case err := <-w.ch:
		return err
	case <-ctx.Done():
	case <-k.c.ctx.Done():
	}
	select { // an answer that came at the same time counts
	case err := <-w.ch:
		return err
	default:
	}
	k.mu.Lock()
	e.waiters = slices.DeleteFunc(e.waiters, func(other waiter) bool { return other == w })
	last := orElse(e.last, k.doubt)
	if k.abandon == nil { // there is no session
		last = k.doubt
	}
	k.mu.Unlock()
	return k.c.ended(ctx, last)
}

// A job is an entry as it is being written.
type job struct {
	e   *entry
	r   *registration // nil: delete
	gen uint64
	rec Record
}

func records(jobs []job) []Record {
	recs := make([]Record, len(jobs))
	for i, j := range jobs {
		recs[i] = j.rec
	}
	return recs
}

// take returns all that is to be written now, and when the next is due.
func (k *keeper) take() (puts, dels []job, due time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	waiting := k.later[:0]
	for _, e := range k.later {
		if e.due.After(now) {
			waiting = append(waiting, e)
			if due.IsZero() || e.due.Before(due) {
				due = e.due
			}
		} else {
			k.ready = append(k.ready, e)
		}
	}
	k.later = waiting
	puts = make([]job, 0, len(k.ready))
	for _, e := range k.ready {
		e.queued = false
		if k.entries[e.key] != e {
			continue
		}
		j := job{e, e.want, e.gen, Record{Service: e.service, ID: e.id}}
		if e.want == nil {
			dels = append(dels, j)
			continue
		}
		j.rec.Value, j.rec.Owner, j.rec.TakeOver = e.want.value, e.want.owner, !e.want.confirmed
		puts = append(puts, j)
	}
	k.ready = nil
	return puts, dels, due
}

func (k *keeper) settleAll(jobs []job, errs []error, cancel context.CancelCauseFunc) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var again [2][]*entry // what has failed, and what was refused
	for i, j := range jobs {
		var err error
		if i < len(errs) {
			err = errs[i]
		}
		if errors.Is(err, ErrSessionLost) {
			cancel(err)
			continue // it is written under the next session
		}
		k.settle(j.e, j.r, j.gen, err)
		if j.e.last == nil || j.e.queued || k.entries[j.e.key] != j.e {
			continue
		}
		op := "register"
		if j.r == nil {
			op = "deregister"
		}
		k.tell(Event{Kind: Retrying, Op: op, Service: j.e.service, ID: j.e.id, Err: err})
		kind := 0
		if permanent(err) {
			kind = 1
		}
		again[kind] = append(again[kind], j.e)
	}
	for _, entries := range again {
		k.postpone(entries)
	}
	k.returned()
}

// postpone has those that failed together go out together again, after the pause of the one
// that has failed most often. k.mu is held.
func (k *keeper) postpone(entries []*entry) {
	var pause backoff
	for _, e := range entries {
		pause.d = max(pause.d, e.pause.d)
	}
	var due time.Time
	for _, e := range entries {
		if due.IsZero() {
			due = time.Now().Add(pause.after(e.last))
		}
		e.due, e.pause, e.queued = due, pause, true
	}
	k.later = append(k.later, entries...)
}
