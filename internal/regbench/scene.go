package regbench

import (
	"cmp"
	"context"
	"time"

	"github.com/go-rollcall/registry"
)

// A scene is a service with n instances, who writes them, and a watcher in another
// client that has seen them. It is the same for both sides.
type scene struct {
	e       *bench
	n       int
	watcher *Meter

	create, change func(i int, zone string) error
	remove         func(i int) error
	await          func(ctx context.Context, i int, zone string) (time.Time, error) // "": until it is gone

	k int // counts the changes
}

// raw is n records and two raw clients: one that has written them and writes, and
// one that watches.
func (e *bench) raw(n int) *scene {
	e.Helper()
	var m Meter
	writer, watcher := e.connect(nil, "raw"), e.connect(&m, "raw")
	e.must(e.populate(writer, records(n, 0)))
	e.must(watcher.Watch())
	m.quiet(e.ctx)
	return &scene{
		e: e, n: n, watcher: &m,
		create: func(i int, zone string) error { return writer.Create(record(i, zone)) },
		change: func(i int, zone string) error { return writer.Update(record(i, zone)) },
		remove: func(i int) error { return writer.Delete(addr(i)) },
		await:  e.rawAwait(watcher),
	}
}

// ours is the same with two Registries.
func (e *bench) ours(n int) *scene {
	e.Helper()
	var written, m Meter
	writer := e.open(&written, 0)
	regs := make([]registry.Registration, n+1)
	create := func(i int, zone string) (err error) {
		regs[i], err = writer.Register(e.ctx, instance("ours", i, zone))
		return err
	}
	e.must(Parallel(n, n, func(i int) error { return create(i, zone(0)) }))
	// No verification within the time of a benchmark: it has its own.
	w := e.watch(e.open(&m, longTTL), "ours")
	e.must(w.len(n))
	written.quiet(e.ctx) // the session looks at what it holds
	m.quiet(e.ctx)
	return &scene{
		e: e, n: n, watcher: &m,
		create: create,
		change: func(i int, zone string) error { return regs[i].Update(e.ctx, map[string]string{"zone": zone}) },
		remove: func(i int) error { return regs[i].Deregister(e.ctx) },
		await:  w.await,
	}
}

// measure makes a change, and waits until the watcher has it, and then for as long
// as it takes that all is quiet again: what the watcher asks for in order to hear of
// the next change counts, and a side that puts it off does so at its own time.
func (s *scene) measure(i int, zone string, change func() error) (sample, error) {
	ctx, cancel := context.WithTimeout(s.e.ctx, time.Minute)
	defer cancel()
	done := make(chan error, 1)
	before, begin := s.watcher.read(), time.Now()
	go func() { done <- change() }()
	at, err := s.await(ctx, i, zone)
	took := at.Sub(begin)
	err = cmp.Or(err, <-done)
	rest(ctx, 2*took+5*time.Millisecond)
	return sample{took, s.watcher.read().since(before)}, err
}

// both registers an instance more, and deregisters it.
func (s *scene) both() (in, out sample, err error) {
	s.k++
	in, err = s.measure(s.n, zone(s.k), func() error { return s.create(s.n, zone(s.k)) })
	if err == nil {
		out, err = s.measure(s.n, "", func() error { return s.remove(s.n) })
	}
	return in, out, err
}

func (s *scene) register() (sample, error)   { in, _, err := s.both(); return in, err }
func (s *scene) deregister() (sample, error) { _, out, err := s.both(); return out, err }

func (s *scene) update() (sample, error) {
	s.k++
	i := s.k % s.n
	return s.measure(i, zone(s.k), func() error { return s.change(i, zone(s.k)) })
}

// rawAwait tells when c knows.
func (e *bench) rawAwait(c Client) func(ctx context.Context, i int, zone string) (time.Time, error) {
	return func(ctx context.Context, i int, zone string) (time.Time, error) {
		rec := record(i, zone)
		if zone == "" {
			rec.Value = nil
		}
		err := c.Await(ctx, rec)
		return time.Now(), err
	}
}
