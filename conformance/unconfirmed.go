package conformance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-rollcall/registry"
)

// unconfirmed: what readers see when the registry cannot be reached, or refuses.
var unconfirmed = []testCase{
	{name: "changes-while-cut-off", promise: 28, needs: link, run: func(e *env) {
		a, b := e.client(e.long), e.client()
		w := e.watch(b)
		x, z := e.register(a, "x"), e.register(a, "z", "n", "1")
		w.set(e.h.TTL, "x z{n=1}")
		for i := range 2 {
			b.Cut()
			if err := x.Deregister(e.ctx(e.h.TTL)); err != nil {
				e.Fatalf("deregister: %v", err)
			}
			e.register(a, fmt.Sprint("y", i))
			if err := z.Update(e.ctx(e.h.TTL), map[string]string{"n": fmt.Sprint(i + 2)}); err != nil {
				e.Fatalf("update: %v", err)
			}
			x = e.register(a, "x", "again", fmt.Sprint(i)) // deleted, and created again
			if i == 1 {
				w.quiet(2 * e.h.TTL) // so long that the reader's session is over too
			}
			b.Heal()
			w.set(e.back(), e.lookup(a))
		}
	}},
	{name: "history-is-gone", promise: 29, needs: link, run: func(e *env) {
		a, b := e.client(e.long), e.client()
		w := e.watch(b)
		x, y := e.register(a, "x", "n", "0"), e.register(a, "y")
		w.set(e.h.TTL, "x{n=0} y")
		for i := range 3 {
			mark := w.mark()
			b.Cut()
			if err := y.Deregister(e.ctx(e.h.TTL)); err != nil {
				e.Fatalf("deregister: %v", err)
			}
			if err := x.Update(e.ctx(e.h.TTL), map[string]string{"n": fmt.Sprint(i + 1)}); err != nil {
				e.Fatalf("update: %v", err)
			}
			compact(a)
			y = e.register(a, "y")
			compact(a)
			b.Heal()
			w.set(e.back(), fmt.Sprintf("x{n=%d} y", i+1))
			compact(a) // under a watch that is up
			r := e.register(a, "z")
			w.set(e.h.TTL, fmt.Sprintf("x{n=%d} y z", i+1))
			if err := r.Deregister(e.ctx(e.h.TTL)); err != nil {
				e.Fatalf("deregister: %v", err)
			}
			w.set(e.h.TTL, fmt.Sprintf("x{n=%d} y", i+1))
			w.neverWithout(mark, "x", "y")
		}
	}},
	{name: "everybody-was-cut-off", promise: 30, needs: link, run: func(e *env) {
		a, b := e.client(), e.client()
		w := e.watch(b)
		if b.Plant != nil {
			b.Plant(service, "no-instance", []byte("{}")) // such a record does not make it a set
		}
		e.register(a, "x")
		w.set(e.h.TTL, "x")
		mark := w.mark()
		a.Cut()
		b.Cut()
		w.quiet(e.h.Dmax + 2*e.h.TTL) // the session of the living has run out
		b.Heal()
		w.quiet(e.h.TTL / 4)
		a.Heal()
		w.set(e.back(), "x")
		w.neverWithout(mark, "x")
		b.Cut()
		if err := a.Registry.Close(); err != nil {
			e.Errorf("close: %v", err)
		}
		w.quiet(2 * e.h.TTL)
		b.Heal()
		w.set(2*e.back(), "") // but what is gone is gone
	}},
	{name: "cut-off-again", promise: 30, needs: link, run: func(e *env) {
		a, b := e.client(), e.client()
		w := e.watch(b)
		e.register(a, "x")
		w.set(e.h.TTL, "x")
		mark := w.mark()
		a.Cut()
		b.Cut()
		w.quiet(e.h.Dmax + 2*e.h.TTL)
		b.Heal()
		w.quiet(registry.MaxBackoff) // it has seen that nobody is there, and does not believe it yet
		b.Cut()
		w.quiet(registry.MaxBackoff + 2*e.h.TTL)
		a.Heal()
		b.Heal()
		w.set(e.back(), "x")
		w.neverWithout(mark, "x")
	}},
	{name: "outage", promise: 30, needs: link, run: func(e *env) {
		a, b := e.client(), e.client()
		w := e.watch(b)
		e.register(a, "x")
		e.register(a, "y")
		w.set(e.h.TTL, "x y")
		mark := w.mark()
		b.Cut()
		cut := time.Now()
		s := w.until(e.h.TTL, "Err to say that the set is not confirmed", func(s registry.Snapshot) bool { return s.Err != nil })
		if s.Confirmed.IsZero() || s.Confirmed.After(cut.Add(e.h.Slack)) {
			e.Errorf("confirmed at %v, and the registry was cut off at %v", s.Confirmed, cut)
		}
		w.quiet(2 * e.h.Dmax)
		w.never(mark, "no removal in an outage", func(s registry.Snapshot) bool { return show(s.Instances) != "x y" })
		healed := w.mark()
		b.Heal()
		w.set(e.back(), "x y")
		w.quiet(e.h.TTL / 2)
		if n := len(w.since(healed)); n != 1 {
			e.Errorf("on recovery there were %d snapshots, want one", n)
		}
	}},
	{name: "denied", promise: 32, needs: deny | link, run: func(e *env) {
		a, b := e.client(), e.client()
		e.register(a, "x")
		w := e.watch(b)
		w.set(e.h.TTL, "x")
		mark := w.mark()
		b.Deny(service)
		if list, err := b.Registry.Lookup(e.ctx(e.h.TTL), service); !errors.Is(err, registry.ErrDenied) {
			e.Errorf("Lookup of a client that is denied: [%s], %v; want ErrDenied", show(list), err)
		}
		b.Cut() // at the latest when it begins anew the watch is refused as well
		w.quiet(e.h.TTL / 4)
		b.Heal()
		w.until(e.back(), "ErrDenied", func(s registry.Snapshot) bool { return errors.Is(s.Err, registry.ErrDenied) })
		w.neverWithout(mark, "x")
		b.Allow(service)
		w.set(e.back(), "x")
	}},
	{name: "denied-from-the-start", promise: 32, needs: deny, run: func(e *env) {
		a, b := e.client(), e.client()
		e.register(a, "x")
		b.Deny(service)
		for s, err := range b.Registry.Watch(e.ctx(e.back()), service) {
			if !errors.Is(err, registry.ErrDenied) {
				e.Errorf("Watch of a client that is denied: [%s], %v; want ErrDenied", show(s.Instances), err)
			}
		}
		b.Allow(service)
		e.watch(b).set(e.back(), "x")
	}},
	{name: "half-open", promise: 33, needs: freeze, verify: true, run: func(e *env) {
		a, b := e.client(), e.client()
		w := e.watch(b)
		e.register(a, "x")
		w.set(e.h.TTL, "x")
		mark := w.mark()
		for _, ask := range []bool{false, true} {
			b.Freeze()
			if ask { // who gives up may give up the link, too
				ctx, cancel := context.WithTimeout(e.Context(), e.h.TTL/4)
				if _, err := b.Registry.Lookup(ctx, service); err == nil {
					e.Errorf("a lookup succeeded without an answer")
				}
				cancel()
			}
			w.until(e.h.TTL*2/3, "Err to say that the registry does not answer", func(s registry.Snapshot) bool { return s.Err != nil })
			b.Heal()
			w.set(e.back(), "x")
		}
		w.neverWithout(mark, "x")
	}},
}

// compact has the server forget, where it remembers.
func compact(c Client) {
	if c.Compact != nil {
		c.Compact()
	}
}
