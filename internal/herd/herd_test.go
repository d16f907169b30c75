package herd_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/internal/measured"
	"github.com/go-rollcall/registry/internal/testserver"
)

// common is the service that all members watch, and that has one instance.
const common = "common"

func service(k int) string { return fmt.Sprint("service", k) }

// patience is for what has no bound of its own, and for what the server does by
// itself: the suite has the bounds of that.
const patience = 3 * time.Minute

// A herd is members of one server, and an observer whose way is never shut.
type herd struct {
	b       backend
	server  testserver.Server
	tally   *tally
	gate    *gate
	members []*member
	reg     registry.Registry // the observer's
	sees    *observer

	mu    sync.Mutex
	wait  map[int]bool // who has not been confirmed since
	since time.Time
	anew  bool // only a writing counts
	took  []time.Duration
	all   chan struct{} // closed when nobody is left in wait
}

// await has confirmations count from now on, of all members.
func (h *herd) await(anew bool) {
	h.tally.reset()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wait, h.since, h.anew, h.took, h.all = map[int]bool{}, time.Now(), anew, nil, make(chan struct{})
	for i := range *registries {
		h.wait[i] = true
	}
}

// confirmed is told that the server has confirmed what member i asked for at sent.
func (h *herd) confirmed(i int, sent time.Time, write bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.wait[i] || sent.Before(h.since) || h.anew && !write {
		return
	}
	delete(h.wait, i)
	h.took = append(h.took, time.Since(h.since))
	if len(h.wait) == 0 {
		close(h.all)
	}
}

func TestHerd(t *testing.T) {
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			h := newHerd(t, b)
			for _, s := range []struct {
				name string
				run  func(*herd, *testing.T)
			}{
				{"start", (*herd).start},
				{"quiet", (*herd).quiet},
				{"server-restarted", (*herd).restarted},
				{"server-away-for-longer-than-the-TTL", (*herd).away},
				{"all-sessions-lost", (*herd).lost},
				{"end", (*herd).end},
			} {
				if !t.Run(s.name, func(t *testing.T) { s.run(h, t) }) {
					t.FailNow() // the next would start from what this one has left
				}
			}
		})
	}
}

func newHerd(t *testing.T, b backend) *herd {
	h := &herd{b: b, server: testserver.Own(t, b.kind, b.start), tally: newTally()}
	t.Logf("%s %s at %s; %d registries, %d instances each", b.kind, h.server.Version(), h.server.Addr(), *registries, *instances)
	h.gate = &gate{tally: h.tally, conns: map[net.Conn]struct{}{}}
	own := &gate{tally: newTally(), conns: map[net.Conn]struct{}{}}
	h.reg = registry.New(b.open(h.server.Addr(), own), &registry.Options{TTL: ttl, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	t.Cleanup(func() { h.reg.Close() })
	if _, err := h.reg.Register(t.Context(), registry.Instance{Service: common, Addr: "127.0.0.1:8897"}); err != nil {
		t.Fatal(err)
	}
	h.sees = h.observe(t)
	t.Cleanup(func() { h.leave() })
	return h
}

// start: all begin at the same time.
func (h *herd) start(t *testing.T) {
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	h.await(true)
	members, errs := make([]*member, *registries), make([]error, *registries)
	var wg sync.WaitGroup
	for i := range members {
		wg.Go(func() { members[i], errs[i] = h.join(ctx, i) })
	}
	wg.Wait()
	h.members = members
	for i, err := range errs {
		if err != nil {
			t.Fatalf("member %d: %v", i, err)
		}
	}
	h.back(t)
	measured.Count(t, "goroutines for each Registry", "", (runtime.NumGoroutine()-before) / *registries)
	measured.Count(t, "descriptors for each Registry", "", descriptors(t) / *registries)
	measured.Count(t, "memory of the process, MB", "", resident(t))
}

// quiet: what the herd costs when nothing happens.
func (h *herd) quiet(t *testing.T) {
	mark := h.sees.mark()
	h.tally.reset()
	h.sees.rest(2 * ttl)
	short, long := h.tally.peak(requests)
	measured.Count(t, "requests a second", "", int(float64(h.tally.total(requests))/(2*ttl).Seconds()))
	measured.Count(t, "peak of requests in 100 ms", "", short)
	measured.Count(t, "peak of requests in 1 s", "", long)
	if n := h.sees.absent(mark); n > 0 {
		t.Errorf("nothing has happened, and a watch has shown %d fewer than there are", n)
	}
	h.sound(t)
}

// restarted: the server is away for no longer than it takes to end and to start.
func (h *herd) restarted(t *testing.T) { h.outage(t, 0) }

// away: the server is away for longer than the TTL, and so is its clock.
func (h *herd) away(t *testing.T) { h.outage(t, ttl+registry.MaxBackoff) }

func (h *herd) outage(t *testing.T, d time.Duration) {
	mark := h.sees.mark()
	down := time.Now()
	h.server.Terminate(t)
	h.sees.rest(d)
	h.await(false)
	h.server.Start(t)
	measured.Duration(t, "server away for", "", time.Since(down))
	measured.Duration(t, "server ready after its start", "", time.Since(h.since))
	all := h.back(t)
	absent := h.sees.absent(mark)
	measured.Count(t, "absent meanwhile, at most", "none, if all are back within T", absent)
	if absent > 0 && all < ttl {
		t.Errorf("all were back within %v, and a watch has shown %d fewer than there are", all, absent)
	}
}

// lost: everybody is cut off until the server has dropped all that they registered.
func (h *herd) lost(t *testing.T) {
	h.gate.close()
	cut := time.Now()
	h.sees.until(t, h.b.dmax+patience, "nobody", func(n int) bool { return n == 0 })
	measured.Duration(t, "all dropped by the server after", "Dmax + N/1000 s", time.Since(cut))
	h.await(true)
	h.gate.open()
	h.back(t)
}

// back waits until the server has confirmed every member, and tells what that took.
func (h *herd) back(t *testing.T) (all time.Duration) {
	t.Helper()
	const bound = "B + 2R after the server, if it can keep up"
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case <-h.all:
	case <-limit.C:
		h.mu.Lock()
		defer h.mu.Unlock()
		for i := range h.wait {
			t.Fatalf("%d of %d members are not back after %v; one of them: %v", len(h.wait), *registries, patience, h.members[i].err())
		}
	}
	slices.Sort(h.took)
	measured.Duration(t, "the first back after", "", h.took[0])
	measured.Duration(t, "half back after", "", h.took[len(h.took)/2])
	measured.Duration(t, "all back after", bound, h.took[len(h.took)-1])
	n := 0
	for k := range *services {
		list, err := h.reg.Lookup(t.Context(), service(k))
		if err != nil {
			t.Fatalf("lookup: %v", err)
		}
		n += len(list)
	}
	if want := *registries * *instances; n != want {
		t.Errorf("all are confirmed, and fresh Lookups find %d of %d", n, want)
	}
	measured.Duration(t, "all found by fresh Lookups after", "", time.Since(h.since))
	h.sees.until(t, patience, "everybody", func(n int) bool { return n == *registries**instances })
	if at := h.sees.at(); at.After(h.since) { // else it was never in doubt
		measured.Duration(t, "all shown by a watch after", "", at.Sub(h.since))
	}
	h.sound(t)
	for kind, name := range []string{"requests", "connections", "sessions asked for", "calls to write"} {
		short, long := h.tally.peak(kind)
		measured.Count(t, name, "", h.tally.total(kind))
		measured.Count(t, "peak of "+name+" in 100 ms", "", short)
		bound := ""
		if kind == sessions || kind == writes {
			bound = "2N, a second of jitter"
			if long > 2**registries {
				t.Errorf("%d %s in a second, by %d registries", long, name, *registries)
			}
		}
		measured.Count(t, "peak of "+name+" in 1 s", bound, long)
	}
	return h.took[len(h.took)-1]
}

// sound waits until each member is content, and fails if one has lost a registration
// for good.
func (h *herd) sound(t *testing.T) {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(50 * time.Millisecond) // no watch tells
	defer tick.Stop()
	for i, m := range h.members {
		for m.err() != nil {
			select {
			case <-tick.C:
			case <-limit.C:
				t.Fatalf("member %d: %v", i, m.err())
			}
		}
		for _, r := range m.regs {
			select {
			case <-r.Done():
				t.Fatalf("member %d: a registration has ended: %v", i, r.Err())
			default:
			}
		}
	}
}

// end: all close at the same time.
func (h *herd) end(t *testing.T) {
	begin := time.Now()
	errs := h.leave()
	measured.Duration(t, "all closed after", "T", time.Since(begin))
	for i, err := range errs {
		if err != nil {
			t.Errorf("member %d: %v", i, err)
		}
	}
	h.sees.until(t, patience, "nobody", func(n int) bool { return n == 0 })
}

// leave closes all members, again if they are closed already.
func (h *herd) leave() []error {
	errs := make([]error, len(h.members))
	var wg sync.WaitGroup
	for i, m := range h.members {
		wg.Go(func() { errs[i] = m.leave() })
	}
	wg.Wait()
	return errs
}

// descriptors counts those that are open.
func descriptors(t *testing.T) int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Logf("descriptors are not known here: %v", err)
	}
	return len(list)
}

// resident is the memory of this process, in MB.
func resident(t *testing.T) (mb int) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Logf("memory is not known here: %v", err)
	}
	for line := range strings.Lines(string(status)) {
		if kb, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			fmt.Sscan(kb, &mb)
		}
	}
	return mb / 1024
}
