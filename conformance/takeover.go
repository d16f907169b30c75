package conformance

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-rollcall/registry"
)

// takeover: the same service and ID, registered again.
var takeover = []testCase{
	{name: "newest-wins", promise: 3, run: func(e *env) {
		a, b, w := e.client(), e.client(), e.watch(e.client())
		old := e.register(a, "x", "by", "a")
		w.set(e.h.TTL, "x{by=a}")
		w.quiet(e.h.TTL / 8) // the owner has looked at what it wrote
		mark := w.mark()
		e.register(b, "x", "by", "b")
		if got := e.lookup(e.client()); got != "x{by=b}" {
			e.Fatalf("after the newer Register returned a lookup gave [%s]", got)
		}
		w.set(e.h.TTL, "x{by=b}")
		e.superseded(old)
		taken := w.mark()
		if err := old.Deregister(e.ctx(e.h.TTL)); err != nil {
			e.Errorf("Deregister of the older: %v", err)
		}
		if err := old.Update(e.ctx(e.h.TTL), nil); !errors.Is(err, registry.ErrSuperseded) {
			e.Errorf("Update of the older: %v, want ErrSuperseded", err)
		}
		w.quiet(2 * e.h.Dmax)
		w.neverWithout(mark, "x")
		w.never(taken, "the older writes no more", func(s registry.Snapshot) bool { return show(s.Instances) != "x{by=b}" })
	}},
	{name: "newest-wins-in-one-registry", promise: 3, run: func(e *env) {
		a, w := e.client(), e.watch(e.client())
		old := e.register(a, "x", "n", "1")
		w.set(e.h.TTL, "x{n=1}")
		mark := w.mark()
		e.register(a, "x", "n", "2")
		e.superseded(old)
		if err := old.Deregister(e.ctx(e.h.TTL)); err != nil {
			e.Errorf("Deregister of the older: %v", err)
		}
		w.set(e.h.TTL, "x{n=2}")
		w.quiet(e.h.Dmax)
		w.neverWithout(mark, "x")
	}},
	{name: "superseded-while-away", promise: 3, needs: link, run: func(e *env) {
		a, b, w := e.client(), e.client(), e.watch(e.client())
		old := e.register(a, "x", "by", "a")
		a.Cut()
		e.register(b, "x", "by", "b")
		w.set(e.h.TTL, "x{by=b}")
		mark := w.mark()
		w.quiet(e.h.Dmax + e.h.TTL)
		a.Heal() // with its session gone it must look before it writes
		e.superseded(old)
		w.quiet(e.h.Dmax)
		w.never(mark-1, "the older writes no more", func(s registry.Snapshot) bool { return show(s.Instances) != "x{by=b}" })
	}},
	{name: "withdrawal-spares-the-newer", promise: 3, needs: link, run: func(e *env) {
		a, b, w := e.client(e.long), e.client(e.long), e.watch(e.client())
		for i := range 4 {
			old := e.register(a, "x", "by", "a")
			e.register(a, "sibling")
			w.set(e.h.TTL, "sibling x{by=a}")
			mark := w.mark()
			a.Cut()
			e.register(b, "x", "by", "b")
			wait := e.start(func() error { return old.Deregister(e.ctx(e.back())) }) // it has not been told
			w.set(e.h.TTL, "sibling x{by=b}")
			w.quiet(time.Duration(i) * e.h.TTL / 16)
			a.Heal()
			if err := wait(e.back()); err != nil {
				e.Errorf("Deregister of the older: %v", err)
			}
			w.quiet(e.h.TTL / 2)
			w.neverWithout(mark, "x")
			if got := e.lookup(b); got != "sibling x{by=b}" {
				e.Fatalf("the older was withdrawn; a lookup gave [%s]", got)
			}
		}
	}},
	{name: "takeover-of-many", promise: 3, run: func(e *env) {
		const n = 150
		a, b, w := e.client(), e.client(), e.watch(e.client())
		var mark int
		var olds []registry.Registration
		for _, c := range []Client{a, b} {
			var mu sync.Mutex
			var wait []func(time.Duration) error
			for i := range n {
				wait = append(wait, e.start(func() error {
					r, err := c.Registry.Register(e.ctx(e.back()), instance(fmt.Sprintf("x%03d", i)))
					mu.Lock()
					defer mu.Unlock()
					if err == nil && len(olds) < n {
						olds = append(olds, r)
					}
					return err
				}))
			}
			for _, f := range wait {
				if err := f(e.back()); err != nil {
					e.Fatalf("register: %v", err)
				}
			}
			w.until(e.h.TTL, "all of them", func(s registry.Snapshot) bool { return len(s.Instances) == n })
			if c.Registry == a.Registry {
				mark = w.mark() // from here on nobody may be absent
			}
		}
		for _, old := range olds {
			e.superseded(old)
		}
		if err := a.Registry.Close(); err != nil {
			e.Errorf("close: %v", err)
		}
		w.quiet(e.h.Dmax)
		w.never(mark, "all are the newer's", func(s registry.Snapshot) bool { return len(s.Instances) != n })
	}},
	{name: "fast-restart", promise: 4, needs: link, run: func(e *env) {
		a, b, w := e.client(e.long), e.client(), e.watch(e.client())
		e.register(a, "x", "run", "1")
		w.set(e.h.TTL, "x{run=1}")
		mark := w.mark()
		a.Cut() // it crashed
		began := time.Now()
		e.register(b, "x", "run", "2")
		if d := time.Since(began); d > e.h.TTL/2+e.h.Slack {
			e.Errorf("registered again after %v: it waited for the old session", d)
		}
		w.set(e.h.TTL, "x{run=2}")
		w.quiet(3 * e.h.Dmax)
		w.neverWithout(mark, "x")
		if got := e.lookup(e.client()); got != "x{run=2}" {
			e.Fatalf("when the old session had ended a lookup gave [%s]", got)
		}
	}},
	{name: "expired-is-free", promise: 25, needs: link | expire, run: func(e *env) {
		a, b, w := e.client(), e.client(), e.watch(e.client())
		for range 2 {
			e.register(a, "x", "by", "a")
			w.set(e.h.TTL, "x{by=a}")
			a.Cut()
			a.Expire()
			began := time.Now()
			r := e.register(b, "x", "by", "b")
			if d := time.Since(began); d > 2*time.Second+e.h.Slack {
				e.Errorf("a record whose session expired was taken again after %v", d)
			}
			w.set(e.h.TTL, "x{by=b}")
			b.Expire()
			e.eventually(2*time.Second+e.back(), "the owner's own record to be back", func() bool { return r.Err() == nil })
			w.set(e.back(), "x{by=b}")
			a.Heal()
		}
	}},
}

func (e *env) superseded(r registry.Registration) {
	e.Helper()
	t := time.NewTimer(e.back() + e.h.Slack)
	defer t.Stop()
	select {
	case <-r.Done():
	case <-t.C:
		e.Fatalf("the older registration was not told")
	}
	if err := r.Err(); !errors.Is(err, registry.ErrSuperseded) {
		e.Errorf("the older registration: %v, want ErrSuperseded", err)
	}
}
