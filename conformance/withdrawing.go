package conformance

import (
	"context"
	"errors"
	"time"

	"github.com/go-rollcall/registry"
)

// withdrawing: Deregister, and what it leaves alone.
var withdrawing = []testCase{
	{name: "deregister", promise: 9, run: func(e *env) {
		a, w := e.client(e.long), e.watch(e.client())
		r, last := e.register(a, "x"), e.register(a, "y")
		w.set(e.h.TTL, "x y")
		for i := range 2 {
			if err := r.Deregister(e.ctx(e.h.TTL)); err != nil {
				e.Errorf("Deregister, time %d: %v", i+1, err)
			}
			w.set(e.h.TTL/2, "y")
		}
		if !closed(r.Done()) || !errors.Is(r.Err(), registry.ErrClosed) {
			e.Errorf("deregistered, and Err is %v; want Done closed and ErrClosed", r.Err())
		}
		if err := last.Deregister(e.ctx(e.h.TTL)); err != nil {
			e.Errorf("Deregister of the last: %v", err)
		}
		w.set(e.h.TTL/2, "")
	}},
	{name: "withdrawn-stays-withdrawn", promise: 10, needs: link | expire, run: func(e *env) {
		a, w := e.client(), e.watch(e.client())
		r := e.register(a, "x")
		e.register(a, "y")
		if err := r.Deregister(e.ctx(e.h.TTL)); err != nil {
			e.Fatalf("Deregister: %v", err)
		}
		w.set(e.h.TTL, "y")
		mark := w.mark()
		a.Expire()
		w.quiet(e.back())
		w.set(e.back(), "y")
		w.never(mark, "what was withdrawn came back with the new session", func(s registry.Snapshot) bool { return has(s, "x") })

		for i := range 5 {
			r := e.register(a, "z")
			w.set(e.h.TTL, "y z")
			a.Cut()
			w.quiet(e.h.TTL * time.Duration(i) / 4) // from a short break to a session that is lost
			wait := e.start(func() error { return r.Deregister(e.ctx(e.back())) })
			a.Heal()
			if err := wait(e.back()); err != nil {
				e.Errorf("Deregister while reconnecting: %v", err)
			}
			w.set(e.back(), "y")
			mark := w.mark()
			w.quiet(e.h.TTL)
			w.never(mark, "what was withdrawn came back", func(s registry.Snapshot) bool { return has(s, "z") })
		}
	}},
	{name: "deregister-in-outage", promise: 11, needs: link, run: func(e *env) {
		a, b, w := e.client(), e.client(), e.watch(e.client())
		alone, one := e.register(a, "alone"), e.register(b, "one")
		e.register(b, "other")
		w.set(e.h.TTL, "alone one other")
		a.Cut()
		b.Cut()
		for _, r := range []registry.Registration{alone, one} {
			ctx, cancel := context.WithTimeout(e.Context(), e.h.TTL/8)
			began := time.Now()
			err := r.Deregister(ctx)
			cancel()
			if d := time.Since(began); err == nil || d > e.h.TTL/8+50*time.Millisecond+e.h.Slack {
				e.Errorf("Deregister in an outage: %v after %v; want an error in the caller's time", err, d)
			}
			if !closed(r.Done()) {
				e.Errorf("Deregister in an outage: Done is open, as if it were still wanted")
			}
		}
		a.Heal()
		b.Heal()
		w.set(e.h.Dmax+e.back(), "other")
		mark := w.mark()
		w.quiet(2 * e.h.Dmax)
		w.never(mark-1, "gone for good", func(s registry.Snapshot) bool { return show(s.Instances) != "other" })
	}},
	{name: "siblings", promise: 12, run: func(e *env) {
		a, w := e.client(), e.watch(e.client())
		x, y, z := e.register(a, "x"), e.register(a, "y"), e.register(a, "z")
		w.set(e.h.TTL, "x y z")
		mark := w.mark()
		if err := y.Deregister(e.ctx(e.h.TTL)); err != nil {
			e.Errorf("Deregister: %v", err)
		}
		w.set(e.h.TTL, "x z")
		w.quiet(2 * e.h.Dmax)
		w.neverWithout(mark, "x", "z")
		if x.Err() != nil || z.Err() != nil {
			e.Errorf("the siblings: %v, %v", x.Err(), z.Err())
		}
	}},
}
