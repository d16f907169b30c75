package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-rollcall/registry"
)

// registering: Register and Update.
var registering = []testCase{
	{name: "register-is-visible", promise: 1, run: func(e *env) {
		a, b := e.client(), e.client()
		for i := range 5 {
			e.register(a, fmt.Sprint("x", i), "k", "v")
			if got := e.lookup(b); !strings.HasSuffix(got, fmt.Sprintf("x%d{k=v}", i)) {
				e.Fatalf("registered x%d; then a lookup gave [%s]", i, got)
			}
		}
		in := instance("")
		in.Addr = "[::1]:8897"
		r, err := a.Registry.Register(e.ctx(e.back()), in)
		if err != nil || r.Instance().ID != in.Addr {
			e.Fatalf("an instance without ID: %v, %v; want its address as ID", r, err)
		}
		names, err := b.Registry.Services(e.ctx(e.h.TTL))
		if err != nil || len(names) != 1 || names[0] != service {
			e.Fatalf("services: %q, %v", names, err)
		}
	}},
	{name: "first-registrations-at-once", promise: 1, run: func(e *env) {
		var clients []Client
		for range 8 {
			c := e.client()
			e.register(c, "warm") // from now on they differ by less than a session takes to open
			clients = append(clients, c)
		}
		for round := range 10 {
			var wait []func(time.Duration) error
			start := make(chan struct{})
			for i, c := range clients {
				in := instance(fmt.Sprint("x", i))
				in.Service = fmt.Sprint("first", round)
				wait = append(wait, e.start(func() error {
					<-start
					_, err := c.Registry.Register(e.ctx(e.back()), in)
					return err
				}))
			}
			close(start)
			for i, w := range wait {
				if err := w(e.back()); err != nil {
					e.Fatalf("client %d of 8 that register the first instances of a service at once: %v", i, err)
				}
			}
			list, err := clients[0].Registry.Lookup(e.ctx(e.h.TTL), fmt.Sprint("first", round))
			if got := show(list); err != nil || got != "x0 x1 x2 x3 x4 x5 x6 x7" {
				e.Fatalf("then a lookup gave [%s], %v", got, err)
			}
		}
	}},
	{name: "lost-reply", promise: 2, needs: drop, run: func(e *env) {
		a, b := e.client(e.long), e.client()
		e.register(a, "before")
		w := e.watch(b)
		w.set(e.h.TTL, "before")
		var mark int
		var want string
		for tries := 1; ; tries++ {
			n := fmt.Sprint(tries)
			want = "before x{n=" + n + "}"
			a.DropReply()
			wait := e.start(func() error {
				_, err := a.Registry.Register(e.ctx(5*e.back()), instance("x", "n", n))
				return err
			})
			w.quiet(e.h.TTL / 2)
			done := e.lookup(b) == want // it took effect, and nobody has said so
			mark = w.mark()
			a.Heal()
			if err := wait(e.back()); err != nil {
				e.Fatalf("Register: %v", err)
			}
			if done {
				break
			}
			// The server may have refused it for a reason that passes, and nobody has
			// said that either.
			if tries == 3 {
				e.Fatalf("three times the write did not take effect while its reply was lost")
			}
		}
		w.quiet(2*e.h.TTL + e.h.Dmax)
		w.neverWithout(mark-1, "x", "before")
		if got := e.lookup(b); got != want {
			e.Fatalf("then a lookup gave [%s]", got)
		}
	}},
	{name: "session-killed", promise: 5, needs: expire, run: func(e *env) {
		a, b := e.client(), e.client()
		w := e.watch(b)
		r, s := e.register(a, "x", "v", "1"), e.register(a, "y")
		if err := r.Update(e.ctx(e.h.TTL), map[string]string{"v": "2"}); err != nil {
			e.Fatalf("update: %v", err)
		}
		for range 2 {
			a.Expire()
			e.eventually(e.back(), "both records, with the latest metadata", func() bool { return e.lookup(b) == "x{v=2} y" })
			e.eventually(e.back(), "registrations that are confirmed", func() bool { return r.Err() == nil && s.Err() == nil })
			w.set(e.h.TTL, "x{v=2} y")
			mark := w.mark()
			w.quiet(2 * e.h.Dmax)
			w.neverWithout(mark, "x", "y")
		}
	}},
	{name: "short-break", promise: 6, needs: link, run: func(e *env) {
		a, b := e.client(), e.client()
		r := e.register(a, "x")
		far, near := e.watch(e.client()), e.watch(b)
		far.set(e.h.TTL, "x")
		near.set(e.h.TTL, "x")
		for range 3 {
			a.Cut()
			b.Cut()
			far.quiet(e.h.TTL / 8)
			a.Heal()
			b.Heal()
			far.quiet(e.h.TTL)
		}
		for _, w := range []*watcher{far, near} {
			w.never(1, "no change at all", func(registry.Snapshot) bool { return true })
		}
		if err := r.Err(); err != nil {
			e.Errorf("the registration: %v", err)
		}
	}},
	{name: "deleted-by-others", promise: 7, needs: plant, run: func(e *env) {
		a, b := e.client(e.long), e.client()
		w := e.watch(b)
		r := e.register(a, "x", "k", "v")
		e.register(a, "y")
		for range 3 {
			b.Remove(service, "x")
			e.eventually(registry.MaxBackoff, "the record to be back", func() bool { return e.lookup(b) == "x{k=v} y" })
			w.set(registry.MaxBackoff, "x{k=v} y")
			e.eventually(e.h.TTL, "a registration that is confirmed", func() bool { return r.Err() == nil })
		}
	}},
	{name: "deleted-while-others-change", promise: 7, needs: plant, run: func(e *env) {
		a, b := e.client(e.long), e.client()
		e.register(a, "x")
		ctx, cancel := context.WithCancel(e.Context())
		var busy sync.WaitGroup
		defer busy.Wait()
		defer cancel()
		for i := range 50 { // so many that there is always something to write
			r := e.register(a, fmt.Sprintf("y%d", i))
			busy.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					_ = r.Update(ctx, map[string]string{"n": strconv.Itoa(n)})
					time.Sleep(time.Millisecond)
				}
			})
		}
		for range 3 {
			b.Remove(service, "x")
			e.eventually(registry.MaxBackoff, "the record to be back", func() bool {
				list, err := b.Registry.Lookup(e.ctx(e.h.TTL), service)
				return err == nil && slices.ContainsFunc(list, func(in registry.Instance) bool { return in.ID == "x" })
			})
		}
	}},
	{name: "away-at-start", promise: 8, needs: link, run: func(e *env) {
		a := e.client()
		a.Cut()
		e.awayAtStart(a, e.back(), a.Heal)
	}},
	{name: "update", promise: 13, run: func(e *env) {
		a := e.client(e.long)
		own, other := e.watch(a), e.watch(e.client())
		r := e.register(a, "x", "v", "0", "w", "0")
		own.set(e.h.TTL, "x{v=0,w=0}")
		other.set(e.h.TTL, "x{v=0,w=0}")
		marks := []int{own.mark(), other.mark()}
		const n = 30
		for i := 1; i <= n; i++ {
			v := strconv.Itoa(i)
			if err := r.Update(e.ctx(e.h.TTL), map[string]string{"v": v, "w": v}); err != nil {
				e.Fatalf("update %d: %v", i, err)
			}
			if i%10 == 0 { // one after the other arrives, and some at once
				other.set(e.h.TTL, fmt.Sprintf("x{v=%d,w=%d}", i, i))
			}
		}
		last := fmt.Sprintf("x{v=%d,w=%d}", n, n)
		for i, w := range []*watcher{own, other} {
			w.set(e.h.TTL, last)
			before := 0
			w.neverWithout(marks[i]-1, "x")
			w.never(marks[i]-1, "a mixture, or an older one after a newer one", func(s registry.Snapshot) bool {
				meta := s.Instances[0].Meta
				now, err := strconv.Atoi(meta["v"])
				defer func() { before = now }()
				return err != nil || meta["v"] != meta["w"] || now < before
			})
		}
		if got := e.lookup(a); got != last {
			e.Errorf("updated; a lookup gave [%s]", got)
		}
	}},
	{name: "many-at-once", promise: 13, needs: traffic, run: func(e *env) {
		const n = 400 // more than any registry takes in one request
		a, w := e.client(e.long), e.watch(e.client())
		regs := make([]registry.Registration, n)
		together := func(do func(i int) error) {
			var wait []func(time.Duration) error
			for i := range n {
				wait = append(wait, e.start(func() error { return do(i) }))
			}
			for _, f := range wait {
				if err := f(e.back()); err != nil {
					e.Fatalf("%v", err)
				}
			}
		}
		update := func(i int, round string) error {
			return regs[i].Update(e.ctx(e.back()), map[string]string{"round": round})
		}
		cost := func(do func()) int {
			w.quiet(e.h.TTL / 4) // the owner has looked at what it wrote
			before := a.Traffic()
			do()
			w.quiet(e.h.TTL / 4)
			return a.Traffic() - before
		}
		together(func(i int) (err error) {
			regs[i], err = a.Registry.Register(e.ctx(e.back()), instance(fmt.Sprintf("x%03d", i)))
			return err
		})
		alone := cost(func() {
			for i := range n {
				if err := update(i, "1"); err != nil {
					e.Fatalf("%v", err)
				}
			}
		})
		if cost := cost(func() { together(func(i int) error { return update(i, "2") }) }); cost > alone {
			e.Errorf("%d updates cost %d one after the other, and %d at once", n, alone, cost)
		}
		w.until(e.h.TTL, "all of them", func(s registry.Snapshot) bool {
			return len(s.Instances) == n && !slices.ContainsFunc(s.Instances, func(in registry.Instance) bool { return in.Meta["round"] != "2" })
		})
	}},
	{name: "parent-vanishes", promise: 14, needs: plant, run: func(e *env) {
		a, b := e.client(e.long), e.client()
		e.register(a, "x")
		for i := range 3 {
			b.Remove(service, "")
			r := e.register(a, "y", "n", strconv.Itoa(i))
			e.eventually(registry.MaxBackoff, "both records", func() bool { return e.lookup(b) == fmt.Sprintf("x y{n=%d}", i) })
			if err := r.Deregister(e.ctx(e.h.TTL)); err != nil {
				e.Errorf("Deregister: %v", err)
			}
		}
	}},
	{name: "failed-register-leaves-nothing", promise: 15, needs: drop | deny, run: func(e *env) {
		a, b := e.client(), e.client()
		w := e.watch(b)
		kept := e.register(a, "kept")
		w.set(e.h.TTL, "kept")
		a.DropReply()
		ctx, cancel := context.WithTimeout(e.Context(), e.h.TTL/4)
		_, err := a.Registry.Register(ctx, instance("x"))
		cancel()
		if err == nil {
			e.Errorf("Register succeeded without an answer from the registry")
		}
		a.Heal()
		w.set(e.back()+e.h.Dmax, "kept")
		a.Deny(service)
		_, err = a.Registry.Register(e.ctx(e.back()), instance("y"))
		if !errors.Is(err, registry.ErrDenied) {
			e.Errorf("Register of a client that is denied: %v, want ErrDenied", err)
		}
		a.Allow(service)
		e.eventually(e.back(), "the sibling to be well", func() bool { return kept.Err() == nil })
		w.quiet(registry.MaxBackoff)
		if got := e.lookup(b); got != "kept" {
			e.Errorf("two registrations failed; a lookup gave [%s]", got)
		}
	}},
}

func closed(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// awayAtStart registers while the registry is away, until back brings it back.
func (e *env) awayAtStart(a Client, within time.Duration, back func()) {
	e.Helper()
	began := time.Now()
	patience := e.h.TTL/2 + e.h.Slack // enough to meet a cause
	ctx, cancel := context.WithTimeout(e.Context(), patience)
	defer cancel()
	_, err := a.Registry.Register(ctx, instance("never"))
	if d := time.Since(began); d > patience+50*time.Millisecond+e.h.Slack {
		e.Errorf("Register returned %v after its context had ended", d-patience)
	}
	var detail *registry.Error
	if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &detail) || detail.Err.Error() == context.DeadlineExceeded.Error() {
		e.Errorf("Register: %v; want an error that wraps the context's and the last cause", err)
	}
	forever, stop := context.WithCancel(e.Context())
	defer stop()
	wait := e.start(func() error {
		_, err := a.Registry.Register(forever, instance("x"))
		return err
	})
	w := e.watch(e.client())
	w.quiet(2 * e.h.TTL)
	back()
	if err := wait(within); err != nil {
		e.Errorf("Register: %v, though the registry is back", err)
	}
	w.set(within, "x")
	w.never(0, "what was given up", func(s registry.Snapshot) bool { return has(s, "never") })
}
