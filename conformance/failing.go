package conformance

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/go-rollcall/registry"
)

// failing: servers of the registry that end, and start again.
var failing = []testCase{
	{name: "leader-dies", promise: 21, needs: kill, run: func(e *env) {
		a, b := e.client(e.long), e.client(e.long)
		w := e.watch(e.client(e.long))
		x, y := e.register(a, "x"), e.register(b, "y")
		w.set(e.h.TTL, "x y")
		mark := w.mark()
		e.cluster.KillLeader()
		died := time.Now()
		e.register(a, "z")
		e.Logf("the others serve %v after their leader has died; the TTL is %v", time.Since(died), x.TTL())
		w.set(e.again(), "x y z")
		w.quiet(2 * e.h.Dmax) // no clock of the old leader's runs on
		e.cluster.Start()
		w.quiet(e.h.TTL)
		w.neverWithout(mark-1, "x", "y")
		for _, r := range []registry.Registration{x, y} {
			e.eventually(e.again(), "a registration that is confirmed", func() bool { return r.Err() == nil })
		}
	}},
	{name: "servers-return", promise: 22, needs: stop | link, run: func(e *env) {
		living, dead := e.client(), e.client()
		w := e.watch(e.client())
		r := e.register(living, "living", "v", "1")
		e.register(dead, "dead")
		w.set(e.h.TTL, "dead living{v=1}")
		mark := w.mark()
		dead.Cut()
		e.cluster.Stop()
		w.quiet(e.h.Dmax + 2*e.h.TTL)
		w.never(mark, "no removal in an outage", func(s registry.Snapshot) bool { return len(s.Instances) != 2 })
		if r.Err() == nil {
			e.Errorf("no server runs, and the registration is confirmed")
		}
		e.cluster.Start()
		e.eventually(e.again(), "a registration that is confirmed", func() bool { return r.Err() == nil })
		w.set(e.h.Election+e.h.Dmax+e.back(), "living{v=1}")
		w.quiet(e.h.TTL)
		w.neverWithout(mark, "living")
	}},
	{name: "withdrawn-while-servers-are-away", promise: 11, needs: stop, run: func(e *env) {
		a, b := e.client(e.long), e.client(e.long) // what was withdrawn is there for long enough to be seen
		w := e.watch(b)
		early, late := e.register(a, "early"), e.register(a, "late")
		e.register(a, "sibling")
		w.set(e.h.TTL, "early late sibling")
		e.cluster.Stop()
		confirmed := map[string]bool{}
		withdraw := func(id string, r registry.Registration) {
			ctx, cancel := context.WithTimeout(e.Context(), e.h.TTL/8)
			defer cancel()
			confirmed[id] = r.Deregister(ctx) == nil
		}
		withdraw("early", early)
		w.quiet(e.h.Dmax + 4*e.h.TTL) // the session has run out by any clock, and nobody has ended it
		withdraw("late", late)
		e.cluster.Start()
		for began := time.Now(); time.Since(began) < e.h.TTL; w.quiet(e.h.TTL / 16) {
			list, err := b.Registry.Lookup(e.ctx(e.again()), service)
			if err != nil {
				e.Fatalf("lookup: %v", err)
			}
			for _, in := range list {
				if confirmed[in.ID] {
					e.Errorf("%v after the servers have returned there is %s, whose withdrawal was confirmed", time.Since(began), in.ID)
				}
			}
		}
		w.set(e.h.Election+2*e.h.Dmax+e.back(), "sibling")
		w.quiet(e.h.Dmax)
	}},
	{name: "servers-away-at-start", promise: 8, needs: stop, run: func(e *env) {
		e.cluster.Stop()
		e.awayAtStart(e.client(), e.again(), e.cluster.Start)
	}},
	{name: "history-is-gone-in-a-restart", promise: 29, needs: stop | link, run: func(e *env) {
		a, b := e.client(e.long), e.client()
		w := e.watch(b)
		x, y := e.register(a, "x", "n", "0"), e.register(a, "y")
		w.set(e.h.TTL, "x{n=0} y")
		mark := w.mark()
		b.Cut()
		if err := y.Deregister(e.ctx(e.h.TTL)); err != nil {
			e.Fatalf("deregister: %v", err)
		}
		if err := x.Update(e.ctx(e.h.TTL), map[string]string{"n": "1"}); err != nil {
			e.Fatalf("update: %v", err)
		}
		compact(a)
		e.cluster.Stop()
		b.Heal() // it finds nobody, and then servers that have forgotten what it saw
		e.cluster.Start()
		w.set(e.again(), "x{n=1}")
		for i := range 3 {
			e.register(a, "z", "n", fmt.Sprint(i))
			compact(a) // under a watch that is up
			w.set(e.again(), fmt.Sprintf("x{n=1} z{n=%d}", i))
		}
		w.neverWithout(mark-1, "x")
	}},
	{name: "leader-stands-still", promise: 1, needs: halt | reach, run: func(e *env) {
		a, b := e.client(e.long), e.client(e.long)
		e.register(a, "x", "n", "1")
		var readers []Client // each at a member of its own
		var rest []int
		for member := range e.cluster.Members {
			c := e.client(e.long)
			c.Reach(member)
			e.lookup(c)
			readers = append(readers, c)
			rest = append(rest, member)
		}
		leader := e.cluster.PauseLeader()
		b.Reach(slices.Delete(rest, leader, leader+1)...)
		e.register(b, "x", "n", "2")
		ctx := e.ctx(2 * e.again())
		look := func() bool {
			list, err := readers[leader].Registry.Lookup(ctx, service)
			if err == nil && show(list) != "x{n=2}" {
				e.Errorf("the record was replaced, and a lookup after that gives [%s]", show(list))
			}
			return err == nil
		}
		first := make(chan bool, 1)
		go func() { first <- look() }()
		e.cluster.Continue() // it leads, for all that it knows
		if !<-first {
			e.eventually(e.again(), "an answer to a lookup", look)
		}
	}},
	{name: "servers-paused", promise: 17, needs: hold, run: func(e *env) {
		a := e.client(e.long)
		w := e.watch(e.client(e.long))
		r := e.register(a, "x")
		w.set(e.h.TTL, "x")
		mark := w.mark()
		e.cluster.Pause()
		w.quiet(e.h.TTL) // less than the TTL, of which a third is between renewals
		e.cluster.Continue()
		e.register(a, "y")
		w.set(e.again(), "x y")
		w.quiet(e.h.TTL) // it is renewed
		e.eventually(e.again(), "a registration that is confirmed", func() bool { return r.Err() == nil })
		w.neverWithout(mark-1, "x")
		e.cluster.Pause()
		w.quiet(3 * e.h.TTL)
		if r.Err() == nil {
			e.Errorf("nobody has answered for longer than the TTL, and the registration is confirmed")
		}
		e.cluster.Continue()
		e.eventually(e.again(), "a registration that is confirmed", func() bool { return r.Err() == nil })
		w.set(e.again(), "x y")
	}},
	{name: "paused-server-is-noticed", promise: 33, needs: hold, verify: true, run: func(e *env) {
		a, b := e.client(), e.client()
		w := e.watch(b)
		r := e.register(a, "x")
		w.set(e.h.TTL, "x")
		mark := w.mark()
		e.cluster.Pause()
		w.until(e.h.TTL*2/3, "Err to say that the registry does not answer", func(s registry.Snapshot) bool { return s.Err != nil })
		e.eventually(e.h.TTL, "Err to say that the registration is not confirmed", func() bool { return r.Err() != nil })
		w.neverWithout(mark-1, "x")
		e.cluster.Continue()
		w.set(e.again(), "x")
		e.eventually(e.again(), "a registration that is confirmed", func() bool { return r.Err() == nil })
	}},
}
