package regbench

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// quietWatch10k is what a watch of 10,000 instances asks while nothing changes. The
// TTL is that of the watcher. A raw watch would ask nothing, and never learn that
// it has missed something.
func (s Subject) quietWatch10k(b *testing.B) {
	const ttl, ttls = time.Second, 5
	e := s.bench(b)
	e.must(e.populate(e.connect(nil, "quiet"), records(many, 0)))
	var m Meter
	e.must(e.watch(e.open(&m, ttl), "quiet").len(many))
	m.quiet(e.ctx)
	begin, n := m.read(), 0
	for b.Loop() {
		rest(e.ctx, ttls*ttl)
		n += ttls
	}
	used := m.read().since(begin)
	used.report(b, "", "TTL", n)
	b.ReportMetric(float64(used.pings)/float64(n), "pings/TTL")
	b.ReportMetric(0, "ns/op") // known beforehand
}

// readers is one change in a service of 100 until all of its readers in one
// Registry have it, and what that asks of the server.
func (s Subject) readers(b *testing.B) {
	for _, readers := range []int{1, 1000} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) {
			e := s.bench(b)
			writer := e.open(nil, 0)
			e.must(e.register(writer, instances("svc", 100), 100))
			var m Meter
			reg := e.open(&m, longTTL)
			var round atomic.Int64 // that the readers wait for
			var waiting sync.WaitGroup
			waiting.Add(readers) // for the first snapshot
			for range readers {
				e.readers.Go(func() {
					had := int64(-1)
					for snap, err := range reg.Watch(e.ctx, "svc") {
						if err != nil {
							return
						}
						// addr(0) is the first in order.
						if now := round.Load(); had < now && snap.Instances[0].Meta["zone"] == zone(int(now)) {
							had = now
							waiting.Done()
						}
					}
				})
			}
			waiting.Wait()
			first, err := writer.Register(e.ctx, instance("svc", 0, zone(0))) // takes over from the one before
			e.must(err)
			alone(b, func() (sample, error) {
				waiting.Add(readers)
				meta := map[string]string{"zone": zone(int(round.Add(1)))}
				before := m.read()
				s, err := m.timed(func() error {
					err := first.Update(e.ctx, meta)
					if err == nil {
						waiting.Wait()
					}
					return err
				})
				rest(e.ctx, 2*s.took+5*time.Millisecond) // as in a scene
				s.traffic = m.read().since(before)
				return s, err
			})
		})
	}
}

// lookup10k is the reading of 10,000 instances.
func (s Subject) lookup10k(b *testing.B) {
	e := s.bench(b)
	var r, o Meter
	c := e.connect(&r, "svc")
	e.must(e.populate(c, records(many, 0)))
	reg := e.open(&o, 0)
	beside(b, 0,
		func() (sample, error) { return r.timed(expect(many, c.List)) },
		func() (sample, error) {
			return o.timed(expect(many, func() (int, error) {
				found, err := reg.Lookup(e.ctx, "svc")
				return len(found), err
			}))
		})
}

// services100 is the reading of the names of 100 services that have 100 instances
// each.
func (s Subject) services100(b *testing.B) {
	const services = 100
	e := s.bench(b)
	var r, o Meter
	c := e.connect(&r, service(0))
	reg := e.open(&o, 0)
	e.must(Parallel(many, many, func(i int) error {
		_, err := reg.Register(e.ctx, instance(service(i%services), i, zone(0)))
		return err
	}))
	o.quiet(e.ctx)
	beside(b, 0,
		func() (sample, error) { return r.timed(expect(services, c.Services)) },
		func() (sample, error) {
			return o.timed(expect(services, func() (int, error) {
				names, err := reg.Services(e.ctx)
				return len(names), err
			}))
		})
}

func service(i int) string { return fmt.Sprintf("svc%d", i) }

// expect has f fail if it does not find n.
func expect(n int, f func() (int, error)) func() error {
	return func() error {
		found, err := f()
		if err == nil && found != n {
			err = fmt.Errorf("%d found, and there are %d", found, n)
		}
		return err
	}
}
