package conformance

import (
	"fmt"

	"github.com/go-rollcall/registry"
)

// quiet: what watches are not told, and what they do not cost.
var quiet = []testCase{
	{name: "other-services", promise: 36, run: func(e *env) {
		a, b := e.client(), e.client()
		e.register(a, "x")
		w := e.watch(b)
		w.set(e.h.TTL, "x")
		mark := w.mark()
		for i := range 100 {
			in := instance("y", "n", fmt.Sprint(i))
			in.Service = []string{"svc2", "sv", "other"}[i%3]
			if _, err := a.Registry.Register(e.ctx(e.back()), in); err != nil {
				e.Fatalf("register: %v", err)
			}
		}
		w.quiet(e.h.TTL / 4)
		if n := len(w.since(mark)); n > 0 {
			e.Errorf("100 changes to other services were %d snapshots of this one", n)
		}
	}},
	{name: "quiet-watch", promise: 36, needs: traffic, verify: true, run: func(e *env) {
		// measure returns what two clients of n instances cost in 4 TTLs, each time it is called.
		measure := func(n int) func() (reader, owner int) {
			a, b := e.client(), e.client()
			name := fmt.Sprint("svc", n)
			for i := range n {
				in := instance(fmt.Sprint("x", i))
				in.Service = name
				if _, err := a.Registry.Register(e.ctx(e.back()), in); err != nil {
					e.Fatalf("register: %v", err)
				}
			}
			w := e.watchService(b, name)
			w.until(e.h.TTL, "all of them", func(s registry.Snapshot) bool { return len(s.Instances) == n })
			w.quiet(e.h.TTL / 2) // the owner has looked at what it wrote
			return func() (reader, owner int) {
				reader, owner = b.Traffic(), a.Traffic()
				w.quiet(4 * e.h.TTL)
				return b.Traffic() - reader, a.Traffic() - owner
			}
		}
		few, fewOwned := measure(2)()
		again := measure(150)
		var many, manyOwned int
		for range 3 { // what is late, on a machine that stood still, is not paid each time
			if many, manyOwned = again(); many <= 2*few+20 && manyOwned <= 2*fewOwned+20 {
				return
			}
		}
		e.Errorf("a quiet watch cost %d with 2 instances and %d with 150, and an idle owner of as many %d and %d", few, many, fewOwned, manyOwned)
	}},
	{name: "shared-watch", promise: 39, needs: traffic, run: func(e *env) {
		a, one, many := e.client(), e.client(), e.client()
		e.register(a, "x", "n", "0")
		watchers := []*watcher{e.watch(one)}
		for range 20 {
			watchers = append(watchers, e.watch(many))
		}
		for _, w := range watchers {
			w.set(e.back(), "x{n=0}")
		}
		b1, b2 := one.Traffic(), many.Traffic()
		for i := range 20 {
			e.register(a, "x", "n", fmt.Sprint(i+1))
			for _, w := range watchers {
				w.set(e.h.TTL, fmt.Sprintf("x{n=%d}", i+1))
			}
		}
		if c1, c2 := one.Traffic()-b1, many.Traffic()-b2; c2 > 2*c1+20 {
			e.Errorf("20 changes cost %d with one reader and %d with 20", c1, c2)
		}
	}},
}
