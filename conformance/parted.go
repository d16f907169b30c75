package conformance

import (
	"fmt"

	"github.com/go-rollcall/registry"
)

// parted: members of the registry that lag behind the others, or behind their past.
var parted = []testCase{
	{name: "isolated-member", promise: 34, needs: part | reach, verify: true, run: func(e *env) {
		a, b, far := e.client(e.long), e.client(e.long), e.client(e.long)
		x := e.register(a, "x")
		near, other := e.watch(b), e.watch(far)
		other.set(e.again(), "x")
		for member := range e.cluster.Members { // one of them leads
			var rest []int
			for m := range e.cluster.Members {
				if m != member {
					rest = append(rest, m)
				}
			}
			far.Reach(rest...)
			for _, c := range []Client{a, b} {
				c.Reach(member)
			}
			e.eventually(e.again(), "a registration that is confirmed", func() bool { return x.Err() == nil })
			e.register(a, "at", "member", fmt.Sprint(member)) // its owner is there
			near.set(e.again(), fmt.Sprintf("at{member=%d} x", member))
			other.set(e.again(), fmt.Sprintf("at{member=%d} x", member))
			mark := other.mark()
			for _, c := range []Client{a, b} {
				c.Heal() // it could go elsewhere, and has no reason yet
			}
			e.cluster.Isolate(member)
			y := e.register(far, "y")
			near.set(e.again()+e.h.TTL, fmt.Sprintf("at{member=%d} x y", member))
			e.register(a, "at", "member", "none")
			near.set(e.again(), "at{member=none} x y")
			e.eventually(e.again(), "a registration that is confirmed", func() bool { return x.Err() == nil })
			other.neverWithout(mark-1, "x", "at")
			e.cluster.Reunite()
			if err := y.Deregister(e.ctx(e.again())); err != nil {
				e.Fatalf("deregister: %v", err)
			}
			near.set(e.again(), "at{member=none} x")
		}
	}},
	{name: "isolated-at-start", promise: 34, needs: part | reach, verify: true, run: func(e *env) {
		ttl := 5 * e.h.TTL // longer than a member waits for a leader
		a := e.client(func(o *registry.Options) { o.TTL = ttl })
		b := e.client()
		a.Reach(0)
		b.Reach(1, 2)
		w := e.watch(b)
		w.set(e.again(), "")
		e.cluster.Isolate(0)
		wait := e.start(func() error {
			_, err := a.Registry.Register(e.Context(), instance("x"))
			return err
		})
		w.quiet(e.h.TTL) // it has been asked
		a.Heal()         // the others can be asked, too
		// What it was asked it may keep for as long as a client waits, which is the TTL.
		if err := wait(ttl + e.again()); err != nil {
			e.Errorf("Register: %v", err)
		}
		w.set(e.again(), "x")
	}},
	{name: "lagging-member", promise: 31, needs: part | reach, verify: true, run: func(e *env) {
		a, b, c, d := e.client(e.long), e.client(), e.client(), e.client()
		a.Reach(1, 2)
		b.Reach(0)
		c.Reach(1, 2)
		d.Reach(0)
		x := e.register(a, "x", "n", "1")
		there, mover := e.watch(b), e.watch(c)
		there.set(e.again(), "x{n=1}")
		mover.set(e.again(), "x{n=1}")
		mark := there.mark()
		e.cluster.Isolate(0)
		if err := x.Update(e.ctx(e.again()), map[string]string{"n": "2"}); err != nil {
			e.Fatalf("update: %v", err)
		}
		e.register(a, "y")
		mover.set(e.again(), "x{n=2} y")
		seen := mover.mark()
		c.Reach(0)         // it has seen more than that member
		late := e.watch(d) // and this one has seen nothing
		there.until(e.again()+2*e.h.TTL, "Err to say that the set is not confirmed", func(s registry.Snapshot) bool { return s.Err != nil })
		there.never(mark, "what was there, and no less", func(s registry.Snapshot) bool { return show(s.Instances) != "x{n=1}" })
		e.cluster.Reunite()
		for _, w := range []*watcher{there, mover, late} {
			w.set(e.again(), "x{n=2} y")
		}
		mover.never(seen-1, "an older set after a newer one", func(s registry.Snapshot) bool { return show(s.Instances) != "x{n=2} y" })
		late.never(0, "a first set from a member that lags", func(s registry.Snapshot) bool { return show(s.Instances) != "x{n=2} y" })
	}},
	{name: "restored", promise: 31, needs: save, verify: true, run: func(e *env) {
		a, b := e.client(), e.client()
		w := e.watch(e.client())
		x := e.register(a, "x", "n", "0")
		gone := e.register(b, "gone")
		w.set(e.again(), "gone x{n=0}")
		restore := e.cluster.Save()
		e.eventually(e.again(), "a registration that is confirmed", func() bool { return x.Err() == nil && gone.Err() == nil })
		var last string
		for i := range 20 { // so that what is restored is well behind
			last = fmt.Sprint(i + 1)
			if err := x.Update(e.ctx(e.again()), map[string]string{"n": last}); err != nil {
				e.Fatalf("update: %v", err)
			}
		}
		e.register(a, "y")
		if err := gone.Deregister(e.ctx(e.again())); err != nil {
			e.Fatalf("deregister: %v", err)
		}
		if err := b.Registry.Close(); err != nil {
			e.Errorf("close: %v", err)
		}
		w.set(e.again(), "x{n="+last+"} y")
		restore()
		// The session of what is gone is there again, and nobody renews it.
		w.quiet(e.h.Election + e.h.Dmax)
		w.set(e.back(), "x{n="+last+"} y")
		for i := range 30 { // so many that the registry counts past where it was before
			last = fmt.Sprint(100 + i)
			if err := x.Update(e.ctx(e.again()), map[string]string{"n": last}); err != nil {
				e.Fatalf("update: %v", err)
			}
			w.set(e.again(), "x{n="+last+"} y")
		}
		if got := e.lookup(e.client()); got != "x{n="+last+"} y" {
			e.Errorf("a lookup gave [%s]", got)
		}
	}},
}
