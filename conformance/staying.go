package conformance

import (
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/go-rollcall/registry"
)

// staying: alive, and dying.
var staying = []testCase{
	{name: "dead-owner", promise: 16, needs: link, run: func(e *env) {
		var lost atomic.Int64
		a := e.client(func(o *registry.Options) {
			o.Logger = slog.New(counter{o.Logger.Handler(), "x", &lost})
		})
		w := e.watch(e.client())
		r := e.register(a, "x")
		w.set(e.h.TTL, "x")
		mark := w.mark()
		w.quiet(2 * e.h.TTL) // it is renewed
		w.neverWithout(mark-1, "x")
		if n := lost.Load(); n > 0 {
			e.Errorf("nobody has touched the record, and %d lines of the log say something else (has a Session's Guard reported what is still held?)", n)
		}
		a.Cut()
		cut := time.Now()
		gone := w.set(e.h.Dmax, "")
		// The last renewal was up to a third of the TTL before the cut.
		if d := gone.at.Sub(cut); d < r.TTL()/2 {
			e.Errorf("the record went %v after the cut, and the TTL is %v", d, r.TTL())
		}
	}},
	{name: "frozen-owner", promise: 17, needs: freeze, run: func(e *env) {
		a, w := e.client(), e.watch(e.client())
		r := e.register(a, "x")
		w.set(e.h.TTL, "x")
		a.Freeze()
		w.set(e.h.Dmax, "")
		w.quiet(e.h.TTL)
		a.Heal()
		w.set(e.back(), "x")
		e.eventually(e.back(), "a registration that is confirmed", func() bool { return r.Err() == nil })
		mark := w.mark()
		w.quiet(2 * e.h.Dmax)
		w.neverWithout(mark, "x")
	}},
	{name: "owner-learns-that-it-is-cut-off", promise: 18, needs: link | freeze, run: func(e *env) {
		a, w := e.client(), e.watch(e.client())
		r := e.register(a, "x")
		w.set(e.h.TTL, "x")
		for _, fault := range []func(){a.Cut, a.Freeze} {
			if err := r.Err(); err != nil {
				e.Fatalf("the registration: %v", err)
			}
			fault()
			e.eventually(r.TTL(), "Err to say that the registration is not confirmed", func() bool { return r.Err() != nil })
			if closed(r.Done()) {
				e.Fatalf("the registration has ended: %v", r.Err())
			}
			a.Heal()
			e.eventually(e.back(), "a registration that is confirmed again", func() bool { return r.Err() == nil })
			w.set(e.h.TTL, "x")
		}
	}},
	{name: "one-lost-renewal", promise: 19, needs: link | freeze, run: func(e *env) {
		a, w := e.client(), e.watch(e.client())
		r := e.register(a, "x")
		w.set(e.h.TTL, "x")
		mark := w.mark()
		for _, fault := range []func(){a.Cut, a.Freeze} {
			for range 4 {
				fault()
				w.quiet(e.h.TTL * 3 / 8) // a renewal falls into it
				a.Heal()
				w.quiet(e.h.TTL / 2)
			}
		}
		w.neverWithout(mark-1, "x")
		if err := r.Err(); err != nil {
			e.Errorf("the registration: %v", err)
		}
	}},
	{name: "effective-ttl", promise: 20, run: func(e *env) {
		w := e.watch(e.client())
		for _, ttl := range []time.Duration{100 * time.Millisecond, e.h.TTL, 24 * time.Hour} {
			a := e.client(func(o *registry.Options) { o.TTL = ttl })
			r, err := a.Registry.Register(e.ctx(e.back()), instance("x"))
			if err != nil {
				if ttl == e.h.TTL || !errors.Is(err, registry.ErrInvalid) {
					e.Errorf("a TTL of %v: %v; want it granted, or ErrInvalid where it is out of the server's limits", ttl, err)
				}
				continue
			}
			if r.TTL() <= 0 || ttl == e.h.TTL && r.TTL() != ttl {
				e.Errorf("asked for a TTL of %v, and it is %v", ttl, r.TTL())
			}
			w.set(e.back(), "x")
			if r.TTL() >= e.h.TTL { // what is shorter a slow machine need not keep up with
				mark := w.mark()
				w.quiet(min(2*r.TTL(), 2*e.h.TTL)) // it is renewed by what was granted
				w.neverWithout(mark, "x")
			}
			if err := a.Registry.Close(); err != nil {
				e.Errorf("close: %v", err)
			}
			w.set(e.h.TTL, "")
		}
	}},
	{name: "long-outage", promise: 22, needs: link, run: func(e *env) {
		living, dead, b := e.client(), e.client(), e.client()
		w := e.watch(b)
		r := e.register(living, "living", "v", "1")
		e.register(dead, "dead")
		w.set(e.h.TTL, "dead living{v=1}")
		for _, c := range []Client{living, dead, b} {
			c.Cut()
		}
		w.quiet(e.h.Dmax + 2*e.h.TTL)
		living.Heal()
		b.Heal()
		e.eventually(e.back(), "a registration that is confirmed", func() bool { return r.Err() == nil })
		w.set(e.h.Dmax+e.back(), "living{v=1}")
		mark := w.mark()
		w.quiet(e.h.Dmax)
		w.neverWithout(mark, "living")
	}},
	{name: "outage-is-quiet", promise: 43, needs: link | deny | traffic, run: func(e *env) {
		a := e.client(e.long)
		r := e.register(a, "x")
		w := e.watch(a)
		w.set(e.h.TTL, "x")
		const long = 3 * registry.MaxBackoff / 2
		before := a.Traffic()
		w.quiet(long)
		healthy := a.Traffic() - before
		for _, fault := range []struct {
			name    string
			on, off func()
		}{
			{"cut off", a.Cut, a.Heal},
			{"denied", func() { a.Deny(service) }, func() { a.Allow(service) }},
		} {
			before := a.Traffic()
			fault.on()
			w.quiet(long)
			// The unit is the harness's, so the measure is a client that is well.
			if cost := a.Traffic() - before; cost > 5*healthy+50 {
				e.Errorf("%s for %v a client cost %d, and %d when all is well", fault.name, long, cost, healthy)
			}
			fault.off()
			e.eventually(e.back(), "a registration that is confirmed", func() bool { return r.Err() == nil })
			w.set(e.back(), "x")
		}
	}},
}
