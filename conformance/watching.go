package conformance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync/atomic"

	"github.com/go-rollcall/registry"
)

// watching: what readers see.
var watching = []testCase{
	{name: "first-snapshot-is-whole", promise: 26, needs: link, run: func(e *env) {
		a, b := e.client(), e.client()
		if s := e.watch(b).until(e.h.TTL, "a first snapshot", func(registry.Snapshot) bool { return true }); s.Err != nil || len(s.Instances) > 0 {
			e.Errorf("a service that nobody registered: [%s], %v", show(s.Instances), s.Err)
		}
		var want []string
		for i := range 20 {
			id := fmt.Sprintf("x%02d", i)
			want = append(want, id)
			e.register(a, id)
		}
		all := strings.Join(want, " ")
		first := func(c Client) {
			e.Helper()
			w := e.watch(c)
			w.set(e.back(), all)
			w.never(0, "the first snapshot must be the whole set, confirmed", func(s registry.Snapshot) bool {
				return show(s.Instances) != all || s.Err != nil || s.Confirmed.IsZero()
			})
		}
		first(e.client())
		away := e.client()
		away.Cut()
		for s, err := range away.Registry.Watch(e.ctx(e.h.TTL/2), service) {
			if !errors.Is(err, context.DeadlineExceeded) || errors.Unwrap(err) == context.DeadlineExceeded {
				e.Errorf("the registry has never answered, and the watch yields [%s], %v; want the context's error and the last cause", show(s.Instances), err)
			}
		}
		away.Heal()
		first(away)
	}},
	{name: "never-empty-in-between", promise: 26, run: func(e *env) {
		a, b, c := e.client(), e.client(), e.client()
		r := e.register(a, "x0")
		over := make(chan struct{})
		wait := e.start(func() error {
			defer close(over)
			for i := range 100 { // one after the other, and one at any time
				next, err := a.Registry.Register(e.ctx(e.back()), instance(fmt.Sprint("x", i+1)))
				if err == nil {
					err = r.Deregister(e.ctx(e.back()))
				}
				if err != nil {
					return err
				}
				r = next
			}
			return nil
		})
		for {
			if e.lookup(b) == "" {
				e.Errorf("a lookup found nobody")
			}
			for s, err := range c.Registry.Watch(e.ctx(e.h.TTL), service) {
				if err != nil || len(s.Instances) == 0 {
					e.Errorf("the first snapshot of a watch: [%s], %v, %v", show(s.Instances), s.Err, err)
				}
				break
			}
			select {
			case <-over:
				if err := wait(e.h.TTL); err != nil {
					e.Errorf("%v", err)
				}
				return
			default:
			}
		}
	}},
	{name: "list-and-watch", promise: 27, run: func(e *env) {
		// Watches begin while records come: none is lost in between.
		a := e.client()
		r := e.register(a, "x")
		for i := range 40 {
			b := e.client()
			wait := e.start(func() error { // so many that the last one comes at one moment or another
				for k := range i%10 + 1 {
					if err := r.Update(e.ctx(e.back()), map[string]string{"n": fmt.Sprintf("%d.%d", i, k)}); err != nil {
						return err
					}
				}
				return nil
			})
			w := e.watch(b)
			if err := wait(e.back()); err != nil {
				e.Fatalf("update: %v", err)
			}
			w.set(e.h.TTL, fmt.Sprintf("x{n=%d.%d}", i, i%10))
			w.stop()
		}
	}},
	{name: "converges", promise: 27, needs: link | freeze | drop | expire, run: func(e *env) {
		rng := rand.New(rand.NewPCG(27, 27))
		var clients []Client
		var watchers []*watcher
		for range 4 {
			c := e.client()
			clients = append(clients, c)
			watchers = append(watchers, e.watch(c))
		}
		regs := map[string]registry.Registration{}
		for i := range 40 {
			c := clients[rng.IntN(len(clients))]
			id := fmt.Sprint("x", rng.IntN(6))
			ctx, cancel := context.WithTimeout(e.Context(), e.h.TTL/8)
			switch op := rng.IntN(8); {
			case op < 3:
				if r, err := c.Registry.Register(ctx, instance(id, "n", fmt.Sprint(i))); err == nil {
					regs[id] = r
				}
			case op < 4 && regs[id] != nil:
				_ = regs[id].Deregister(ctx)
			case op < 5 && regs[id] != nil:
				_ = regs[id].Update(ctx, map[string]string{"n": fmt.Sprint(i)})
			default:
				[]func(){c.Cut, c.Freeze, c.DropReply, c.Expire, c.Heal, c.Heal}[rng.IntN(6)]()
				watchers[0].quiet(e.h.TTL / 16)
			}
			cancel()
		}
		for _, c := range clients {
			c.Heal()
		}
		watchers[0].quiet(e.back() + e.h.Dmax + e.h.TTL)
		want := e.lookup(clients[0])
		for _, w := range watchers {
			w.set(e.back(), want)
		}
		for id, r := range regs {
			wanted := !closed(r.Done())
			if there := strings.Contains(" "+want, " "+id+"{"); wanted != there {
				e.Errorf("%s: registered is %v (%v), and the registry has [%s]", id, wanted, r.Err(), want)
			}
		}
	}},
	{name: "slow-reader", promise: 35, run: func(e *env) {
		a, b := e.client(), e.client(e.long)
		e.register(a, "x", "n", "0")
		own := e.register(b, "own") // renewed while its reader sleeps
		slow, release := make(chan registry.Snapshot), make(chan struct{})
		ctx, cancel := context.WithCancel(e.Context())
		defer cancel()
		done := make(chan struct{})
		go func() {
			defer close(done)
			for s, err := range b.Registry.Watch(ctx, service) {
				if err != nil {
					return
				}
				select {
				case slow <- s:
				case <-ctx.Done():
					return
				}
				<-release
			}
		}()
		next := func() registry.Snapshot {
			e.Helper()
			select {
			case s := <-slow:
				return s
			case <-e.ctx(e.back()).Done():
				e.Fatalf("the slow reader was given nothing")
				panic("unreachable")
			}
		}
		next() // it is now busy with the first
		w := e.watch(b)
		for i := range 50 {
			e.register(a, "x", "n", fmt.Sprint(i+1))
		}
		w.set(e.h.TTL, "own x{n=50}")
		w.quiet(2 * e.h.Dmax)
		if err := own.Err(); err != nil {
			e.Errorf("a reader that is slow has cost a registration: %v", err)
		}
		close(release)
		if s := next(); show(s.Instances) != "own x{n=50}" {
			e.Errorf("the slow reader's next snapshot is [%s], want the newest", show(s.Instances))
		}
		cancel()
		<-done
	}},
	{name: "undecodable", promise: 37, needs: plant, run: func(e *env) {
		var warned atomic.Int64
		a := e.client()
		b := e.client(func(o *registry.Options) {
			o.Logger = slog.New(counter{o.Logger.Handler(), "bad-json", &warned})
		})
		e.register(a, "x")
		b.Plant(service, "bad-json", []byte("{not json"))
		b.Plant(service, "127.0.0.1:1", nil)
		b.Plant(service, "foreign", []byte(`{"addr":"127.0.0.1:2","new-field":1}`))
		want := "127.0.0.1:1 foreign x"
		w := e.watch(b)
		if s := w.set(e.h.TTL, want); s.Skipped != 1 {
			e.Errorf("%d skipped, want 1", s.Skipped)
		}
		if got := e.lookup(b); got != want {
			e.Errorf("a lookup gave [%s], want [%s]", got, want)
		}
		b.Plant(service, "no-address", nil)
		b.Plant(service, "a name", []byte(`{"addr":"127.0.0.1:3"}`))
		b.Plant(service, "large", []byte(`{"addr":"127.0.0.1:3","meta":{"k":"`+strings.Repeat("x", registry.MaxRecord)+`"}}`))
		b.Plant(service, "bad-json", []byte("{neither"))
		w.until(e.h.TTL, "4 skipped", func(s registry.Snapshot) bool { return s.Skipped == 4 })
		e.register(a, "y")
		s := w.set(e.h.TTL, want+" y")
		if n := warned.Load(); s.Skipped != 4 || n != 1 {
			e.Errorf("%d skipped and one of them logged %d times; want 4, and once", s.Skipped, n)
		}
		b.Plant(service, "bad-json", []byte(`{"addr":"127.0.0.1:4"}`))
		w.set(e.h.TTL, "127.0.0.1:1 bad-json foreign x y")
	}},
	{name: "too-large", promise: 38, needs: link, run: func(e *env) {
		a := e.client()
		r := e.register(a, "x0")
		a.Cut() // nothing can be sent
		meta := map[string]string{"k": strings.Repeat("x", registry.MaxRecord)}
		in := instance("x")
		in.Meta = meta
		if _, err := a.Registry.Register(e.ctx(e.h.TTL), in); !errors.Is(err, registry.ErrTooLarge) {
			e.Errorf("Register: %v, want ErrTooLarge", err)
		}
		if err := r.Update(e.ctx(e.h.TTL), meta); !errors.Is(err, registry.ErrTooLarge) {
			e.Errorf("Update: %v, want ErrTooLarge", err)
		}
		a.Heal()
		few := e.client(func(o *registry.Options) { o.MaxInstances = 3 })
		for i := range 2 {
			e.register(a, fmt.Sprint("x", i+1))
		}
		w := e.watch(few)
		w.set(e.back(), "x0 x1 x2")
		mark := w.mark()
		more := e.register(a, "x3")
		if s := w.until(e.back(), "ErrTooLarge", func(s registry.Snapshot) bool { return errors.Is(s.Err, registry.ErrTooLarge) }); show(s.Instances) != "x0 x1 x2" {
			e.Errorf("a set that is too large: [%s], want the last good one", show(s.Instances))
		}
		if _, err := few.Registry.Lookup(e.ctx(e.h.TTL), service); !errors.Is(err, registry.ErrTooLarge) {
			e.Errorf("Lookup: %v, want ErrTooLarge", err)
		}
		w.quiet(registry.MaxBackoff)
		if n := len(w.since(mark)); n != 1 {
			e.Errorf("a set that is too large was %d snapshots, want one", n)
		}
		if err := more.Deregister(e.ctx(e.h.TTL)); err != nil {
			e.Errorf("deregister: %v", err)
		}
		w.set(max(2*registry.MaxBackoff, 2*e.h.TTL), "x0 x1 x2")
	}},
}

// A counter counts the lines that name an instance.
type counter struct {
	slog.Handler
	id string
	n  *atomic.Int64
}

func (c counter) WithAttrs(attrs []slog.Attr) slog.Handler {
	return counter{c.Handler.WithAttrs(attrs), c.id, c.n}
}

func (c counter) Handle(ctx context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "instance" && a.Value.String() == c.id {
			c.n.Add(1)
		}
		return true
	})
	return c.Handler.Handle(ctx, r)
}
