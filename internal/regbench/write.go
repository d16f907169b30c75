package regbench

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
)

// register10k is 10,000 registrations on one Registry that is connected, by so many
// callers, until all have returned, beside as many records in batches, of which no
// more are under way than there are callers.
func (s Subject) register10k(b *testing.B) {
	e := s.bench(b)
	recs, ins := records(many, 0), instances("ours", many)
	raw := func(callers int) side {
		return func() (sample, error) {
			var m Meter
			c, err := e.Connect(&m, "raw")
			if err != nil {
				return sample{}, err
			}
			defer c.Close()
			settle(e.ctx)
			return m.timed(func() error { return e.write(c, recs, false, min(s.InFlight, callers/s.Batch)) })
		}
	}
	ours := func(callers int) side {
		return func() (sample, error) {
			var m Meter
			reg := e.registry(&m, 0)
			defer reg.Close()
			if _, err := reg.Register(e.ctx, instance("ours", many, zone(0))); err != nil { // the session
				return sample{}, err
			}
			settle(e.ctx)
			return m.timed(func() error { return e.register(reg, ins, callers) })
		}
	}
	for _, callers := range []int{many, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) { beside(b, many, raw(callers), ours(callers)) })
	}
}

// update10k is as many updates at once.
func (s Subject) update10k(b *testing.B) {
	e := s.bench(b)
	var r, o Meter
	c := e.connect(&r, "raw")
	e.must(e.populate(c, records(many, 0)))
	reg := e.open(&o, 0)
	regs := make([]registry.Registration, many)
	e.must(Parallel(many, many, func(i int) (err error) {
		regs[i], err = reg.Register(e.ctx, instance("ours", i, zone(0)))
		return err
	}))
	turn := 0
	beside(b, many,
		func() (sample, error) {
			turn++
			recs := records(many, turn)
			settle(e.ctx)
			return r.timed(func() error { return e.write(c, recs, true, s.InFlight) })
		},
		func() (sample, error) {
			meta := map[string]string{"zone": zone(turn)}
			o.quiet(e.ctx)
			settle(e.ctx)
			return o.timed(func() error {
				return Parallel(many, many, func(i int) error { return regs[i].Update(e.ctx, meta) })
			})
		})
}

// settle ends what the other side has left to do: with its garbage, and in the
// server.
func settle(ctx context.Context) {
	runtime.GC()
	rest(ctx, 100*time.Millisecond)
}

// registerToWatcher is the time from the call of Register until a watcher in
// another client has the instance.
func (s Subject) registerToWatcher(b *testing.B) {
	for _, n := range []int{0, 1000} {
		b.Run(fmt.Sprintf("among=%d", n), func(b *testing.B) {
			e := s.bench(b)
			beside(b, 0, e.raw(n).register, e.ours(n).register)
		})
	}
}

// changeIn10k is one change in a service of 10,000: the time until a watcher in
// another client has it, and what the watcher's client asks for that.
func (s Subject) changeIn10k(b *testing.B) {
	e := s.bench(b)
	raw, ours := e.raw(many), e.ours(many)
	b.Run("change=update", func(b *testing.B) { beside(b, 0, raw.update, ours.update) })
	b.Run("change=register", func(b *testing.B) { beside(b, 0, raw.register, ours.register) })
	b.Run("change=deregister", func(b *testing.B) { beside(b, 0, raw.deregister, ours.deregister) })
}
