package conformance

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/go-rollcall/registry"
	"go.uber.org/goleak"
)

// whole: the Registry as a whole.
var whole = []testCase{
	{name: "close", promise: 41, run: func(e *env) {
		a, b := e.client(e.long), e.client()
		r := e.register(a, "x")
		e.register(a, "y")
		own, other := e.watch(a), e.watch(b)
		own.set(e.h.TTL, "x y")
		other.set(e.h.TTL, "x y")
		began := time.Now()
		if err := a.Registry.Close(); err != nil {
			e.Errorf("Close: %v", err)
		}
		if d := time.Since(began); d > e.h.TTL+e.h.Slack {
			e.Errorf("Close took %v", d)
		}
		other.set(e.h.TTL/2, "")
		<-own.stopped
		if !errors.Is(own.err, registry.ErrClosed) {
			e.Errorf("a watch of a Registry that was closed: %v, want ErrClosed", own.err)
		}
		if !closed(r.Done()) || !errors.Is(r.Err(), registry.ErrClosed) {
			e.Errorf("a registration of a Registry that was closed: %v, want ErrClosed", r.Err())
		}
		_, err1 := a.Registry.Register(e.Context(), instance("z"))
		_, err2 := a.Registry.Lookup(e.Context(), service)
		_, err3 := a.Registry.Services(e.Context())
		for i, err := range []error{err1, err2, err3, r.Update(e.Context(), nil)} {
			if !errors.Is(err, registry.ErrClosed) {
				e.Errorf("call %d of a Registry that was closed: %v, want ErrClosed", i, err)
			}
		}
		if err := a.Registry.Close(); err != nil {
			e.Errorf("Close again: %v", err)
		}
	}},
	{name: "close-in-outage", promise: 41, needs: link | freeze, run: func(e *env) {
		w := e.watch(e.client())
		for _, freeze := range []bool{false, true} {
			a := e.client()
			e.register(a, "x")
			w.set(e.h.TTL, "x")
			waiting := e.start(func() error { _, err := a.Registry.Register(e.Context(), instance("y")); return err })
			w.until(e.h.TTL, "y too", func(s registry.Snapshot) bool { return has(s, "y") })
			_ = waiting(e.h.TTL)
			if freeze {
				a.Freeze()
			} else {
				a.Cut()
			}
			pending := e.start(func() error { _, err := a.Registry.Register(e.Context(), instance("z")); return err })
			w.quiet(e.h.TTL / 16) // it waits for the registry
			began := time.Now()
			if err := a.Registry.Close(); err == nil {
				e.Errorf("Close in an outage says that the withdrawal is confirmed")
			}
			if d := time.Since(began); d > e.h.TTL+e.h.Slack {
				e.Errorf("Close took %v", d)
			}
			if err := pending(0); !errors.Is(err, registry.ErrClosed) {
				e.Errorf("a Register that waited: %v, want ErrClosed", err)
			}
			a.Heal()
			w.set(e.h.Dmax, "")
		}
	}},
	{name: "close-after-an-outage", promise: 41, needs: link, run: func(e *env) {
		a, b := e.client(e.long), e.client()
		w := e.watch(b)
		r := e.register(a, "x")
		w.set(e.h.TTL, "x")
		a.Cut()
		ctx, cancel := context.WithTimeout(e.Context(), e.h.TTL/8)
		defer cancel()
		if err := r.Deregister(ctx); err == nil {
			e.Errorf("Deregister in an outage says that the withdrawal is confirmed")
		}
		w.quiet(e.h.TTL / 2) // the session is given up, and nobody has ended it
		a.Heal()
		err := a.Registry.Close()
		if got := e.lookup(b); err == nil && got != "" {
			e.Errorf("Close says that all is withdrawn, and there is [%s]", got)
		}
	}},
	{name: "no-leaks", promise: 41, serial: true, run: func(e *env) {
		b := e.client()
		w := e.watch(b)
		w.set(e.back(), "")
		cycle := func(i int) {
			opts := &registry.Options{TTL: e.h.TTL}
			c := e.open(opts)
			defer e.close(c)
			ctx := e.ctx(e.back())
			for _, err := range c.Registry.Watch(ctx, service) {
				if err != nil {
					e.Errorf("watch: %v", err)
				}
				break
			}
			if i%2 == 0 {
				if _, err := c.Registry.Register(ctx, instance(fmt.Sprint("x", i))); err != nil {
					e.Errorf("register: %v", err)
				}
			}
		}
		cycle(0) // what is made once for all
		before, files := goleak.IgnoreCurrent(), openFiles()
		var wg sync.WaitGroup
		for k := range 10 {
			wg.Go(func() {
				for i := range 100 {
					cycle(100*k + i)
				}
			})
		}
		wg.Wait()
		w.set(e.back(), "")
		if e.h.Virtual {
			return // a goroutine that is left over fails the bubble
		}
		w.end()
		_ = b.Registry.Close() // it may have made connections meanwhile
		if err := goleak.Find(before, betweenMembers); err != nil {
			e.Errorf("after 1000 cycles: %v", err)
		}
		e.eventually(e.h.TTL, "no descriptor to be left over", func() bool { return openFiles() <= files+5 })
	}},
	{name: "cancelled-calls-return", promise: 42, needs: freeze, run: func(e *env) {
		a := e.client(e.long)
		up, down := e.register(a, "up"), e.register(a, "down")
		w := e.watch(e.client())
		w.set(e.h.TTL, "down up")
		a.Freeze()
		for name, call := range map[string]func(context.Context) error{
			"Register": func(ctx context.Context) error { _, err := a.Registry.Register(ctx, instance("x")); return err },
			"Lookup":   func(ctx context.Context) error { _, err := a.Registry.Lookup(ctx, service); return err },
			"Services": func(ctx context.Context) error { _, err := a.Registry.Services(ctx); return err },
			"Watch": func(ctx context.Context) error {
				for _, err := range a.Registry.Watch(ctx, service) {
					if err != nil {
						return err
					}
				}
				return nil
			},
			"Update":     func(ctx context.Context) error { return up.Update(ctx, map[string]string{"k": "v"}) },
			"Deregister": down.Deregister,
		} {
			ctx, cancel := context.WithCancelCause(e.Context())
			wait := e.start(func() error { return call(ctx) })
			w.quiet(e.h.TTL / 16) // it waits for the registry
			cause := errors.New("the caller has had enough")
			cancel(cause)
			if err := wait(50 * time.Millisecond); !errors.Is(err, cause) {
				e.Errorf("%s, cancelled: %v; want an error with the cause", name, err)
			}
		}
	}},
	{name: "trace", promise: 44, needs: expire, run: trace},
}

// trace checks, operation by operation, that a watcher sees what the model says:
// so every registry gives the same trace.
func trace(e *env) {
	const operations = 200
	rng := rand.New(rand.NewPCG(44, 200))
	services := []string{"svc", "svc.b"}
	var clients []Client
	for range 3 {
		clients = append(clients, e.client(e.long))
	}
	var watchers []*watcher
	reader := e.client()
	for _, s := range services {
		watchers = append(watchers, e.watchService(reader, s))
	}
	type held struct {
		registry.Registration
		owner int
	}
	type place struct{ service, id int }
	regs := map[place]held{}
	model := map[place]string{} // metadata
	for i := range operations {
		at := place{rng.IntN(len(services)), rng.IntN(4)}
		who := rng.IntN(len(clients))
		n := fmt.Sprint(i)
		var op string
		var err error
		r, there := regs[at]
		switch k := rng.IntN(10); {
		case k < 4 || !there && k < 9: // a takeover, if somebody else has it
			op = fmt.Sprintf("client %d registers x%d of %s", who, at.id, services[at.service])
			in := instance(fmt.Sprint("x", at.id), "n", n)
			in.Service = services[at.service]
			var now registry.Registration
			if now, err = clients[who].Registry.Register(e.ctx(e.back()), in); err == nil {
				if there {
					e.superseded(r.Registration)
				}
				regs[at], model[at] = held{now, who}, n
			}
		case k < 7:
			op = fmt.Sprintf("client %d updates x%d of %s", r.owner, at.id, services[at.service])
			err = r.Update(e.ctx(e.back()), map[string]string{"n": n})
			model[at] = n
		case k < 9:
			op = fmt.Sprintf("client %d deregisters x%d of %s", r.owner, at.id, services[at.service])
			err = r.Deregister(e.ctx(e.back()))
			delete(regs, at)
			delete(model, at)
		default:
			op = fmt.Sprintf("the session of client %d expires", who)
			clients[who].Expire()
			for _, r := range regs {
				if r.owner == who {
					e.eventually(e.back(), "a registration that is confirmed", func() bool { return r.Err() == nil })
				}
			}
		}
		if err != nil {
			e.Fatalf("operation %d, %s: %v", i, op, err)
		}
		for s, w := range watchers {
			var want []registry.Instance
			for id := range 4 {
				if n, ok := model[place{s, id}]; ok {
					want = append(want, instance(fmt.Sprint("x", id), "n", n))
				}
			}
			w.set(e.back(), show(want))
		}
	}
}

// betweenMembers is what members of our own clusters have with each other: they may
// connect at any time, through the process of the test.
var betweenMembers = goleak.IgnoreAnyFunction("github.com/go-rollcall/registry/internal/testserver.(*pipe).forward")

func openFiles() int {
	list, _ := os.ReadDir("/proc/self/fd") // none where there is no such thing
	return len(list)
}
