package zkreg_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-zookeeper/zk"
)

// Each benchmark has the client library by itself beside ours. Sub-benchmarks
// named client=raw and client=ours are for benchstat -col /client. In
// client=both the two take turns: what disturbs the machine then disturbs both,
// and the ratio means something.

const (
	many     = 10_000
	maxBatch = 100 // creates in a raw Multi
	pipeline = 256 // raw requests under way at once
)

// BenchmarkRegister10k is 10,000 registrations on one Registry that is
// connected, until all have returned, beside Multis of 100 creates, one after
// the other.
func BenchmarkRegister10k(b *testing.B) {
	e := newBench(b)
	// Ours with as many callers at once.
	ours := func(callers int) side {
		return func(int) sample {
			var m meter
			reg := e.open(&m, 0)
			e.register(reg, "ours", many) // the session, and the parent
			s := m.timed(func() {
				parallel(many, callers, func(i int) { e.register(reg, "ours", i) })
			})
			e.check("close", reg.Close())
			return s
		}
	}
	raw := func(underWay int) side {
		return func(int) sample {
			var m meter
			c := e.dial(&m)
			defer c.Close()
			return m.timed(func() { e.populate(c, "raw", many, underWay) })
		}
	}
	e.create("raw")
	for _, callers := range []int{many, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			beside(b, many, raw(1), ours(callers))
		})
	}
	b.Run("pipelined", func(b *testing.B) { alone(b, many, raw(many/maxBatch)) })
}

// BenchmarkRegisterToWatcher is the time from the call of Register until a
// watcher in another client has the instance. Raw is a create, the event, the
// children, and a get of the new one, whose name it is told.
func BenchmarkRegisterToWatcher(b *testing.B) {
	for _, n := range []int{0, 1000} {
		b.Run(fmt.Sprintf("among=%d", n), func(b *testing.B) {
			ours, raw := newScenes(b, n)
			beside(b, 0, raw.register, ours.register)
		})
	}
}

// BenchmarkChangeIn10k is one change in a service of 10,000: the time until a
// watcher in another client has it, and what the watcher's client asks for that.
func BenchmarkChangeIn10k(b *testing.B) {
	ours, raw := newScenes(b, many)
	b.Run("change=update", func(b *testing.B) { beside(b, 0, raw.update, ours.update) })
	b.Run("change=register", func(b *testing.B) { beside(b, 0, raw.register, ours.register) })
	b.Run("change=deregister", func(b *testing.B) { beside(b, 0, raw.deregister, ours.deregister) })
}

// BenchmarkQuietWatch10k is what a watch of 10,000 instances asks while nothing
// changes. The TTL is that of the watcher. A raw watch would ask nothing, and
// never learn that it has missed something.
func BenchmarkQuietWatch10k(b *testing.B) {
	const ttl, ttls = time.Second, 5
	e := newBench(b)
	e.create("quiet")
	e.populate(e.dial(nil), "quiet", many, pipeline)
	var m meter
	w := e.watch(e.open(&m, ttl), "quiet")
	w.await(func(s registry.Snapshot) bool { return len(s.Instances) == many })
	begin, n := m.read(), 0
	for b.Loop() {
		time.Sleep(ttls * ttl)
		n += ttls
	}
	used := m.read().since(begin)
	used.report(b, "TTL", n)
	b.ReportMetric(0, "ns/op") // known beforehand
}

// BenchmarkReaders is one change in a service of 100 until all of its readers in
// one Registry have it, and what that asks of the server.
func BenchmarkReaders(b *testing.B) {
	for _, readers := range []int{1, 1000} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) {
			e := newBench(b)
			writer := e.open(nil, 0)
			var first registry.Registration
			for i := range 100 {
				if r := e.register(writer, "svc", i); i == 0 {
					first = r
				}
			}
			var m meter
			reg := e.open(&m, time.Hour)
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
						now := round.Load()
						in := snap.Instances[0] // addr(0) is the first in order
						if had < now && (now == 0 || in.Meta["round"] == fmt.Sprint(now)) {
							had = now
							waiting.Done()
						}
					}
				})
			}
			waiting.Wait()
			alone(b, 0, func(int) sample {
				waiting.Add(readers)
				meta := map[string]string{"round": fmt.Sprint(round.Add(1))}
				return m.timed(func() {
					e.check("update", first.Update(e.ctx, meta))
					waiting.Wait()
				})
			})
		})
	}
}

// BenchmarkLookup10k is the reading of 10,000 instances, beside the children and
// then a get of each.
func BenchmarkLookup10k(b *testing.B) {
	e := newBench(b)
	e.create("svc")
	c := e.dial(nil)
	e.populate(c, "svc", many, pipeline)
	reg := e.open(nil, 0)
	beside(b, 0, func(int) sample {
		return new(meter).timed(func() {
			names, _, err := c.Children(e.root + "/svc")
			e.check("children", err)
			parallel(len(names), pipeline, func(i int) {
				_, _, err := c.Get(e.root + "/svc/" + names[i])
				e.check("get", err)
			})
		})
	}, func(int) sample {
		return new(meter).timed(func() {
			found, err := reg.Lookup(e.ctx, "svc")
			if e.check("lookup", err); len(found) != many {
				b.Errorf("lookup found %d", len(found))
			}
		})
	})
}

// BenchmarkServices is the reading of the names of 100 services, beside the
// children of the root and whether each has any.
func BenchmarkServices(b *testing.B) {
	e := newBench(b)
	c := e.dial(nil)
	for i := range 100 {
		service := fmt.Sprintf("svc%d", i)
		e.create(service)
		e.populate(c, service, 1, 1)
	}
	reg := e.open(nil, 0)
	beside(b, 0, func(int) sample {
		return new(meter).timed(func() {
			names, _, err := c.Children(e.root)
			e.check("children", err)
			parallel(len(names), pipeline, func(i int) {
				_, _, err := c.Exists(e.root + "/" + names[i])
				e.check("exists", err)
			})
		})
	}, func(int) sample {
		return new(meter).timed(func() {
			names, err := reg.Services(e.ctx)
			if e.check("services", err); len(names) != 100 {
				b.Errorf("%d services", len(names))
			}
		})
	})
}

// A side is one of the clients that are compared. It does the same thing once
// more, the i-th time, and measures that, without what it does before and after.
type side func(i int) sample

type sample struct {
	took    time.Duration
	traffic traffic // of the client that the benchmark is about
}

// timed measures f, and what goes over the meter's connections.
func (m *meter) timed(f func()) sample {
	before, begin := m.read(), time.Now()
	f()
	return sample{time.Since(begin), m.read().since(before)}
}

// A scene is a service with n instances, and a watcher in another client that
// has seen them. Its sides make one change and wait until the watcher has it.
type scene struct {
	register, deregister, update side
}

// newScenes makes the same scene twice.
func newScenes(b *testing.B, n int) (ours, raw scene) {
	e := newBench(b)
	return e.scene(n), e.rawScene(n)
}

func (e *bench) scene(n int) scene {
	writer := e.open(nil, 0)
	regs := make([]registry.Registration, n)
	parallel(n, pipeline, func(i int) { regs[i] = e.register(writer, "ours", i) })
	if n == 0 { // the session, and the parent
		e.check("deregister", e.register(writer, "ours", 0).Deregister(e.ctx))
	}
	var m meter
	// No verification within the time of a benchmark: it has its own.
	w := e.watch(e.open(&m, time.Hour), "ours")
	w.await(func(s registry.Snapshot) bool { return len(s.Instances) == n })

	change := func(f func() error, seen func(registry.Snapshot) bool) sample {
		before, begin := m.read(), time.Now()
		e.check("change", f())
		return sample{w.await(seen).Sub(begin), m.read().since(before)}
	}
	both := func(i int) (in, out sample) {
		var r registry.Registration
		id := addr(n + i)
		in = change(
			func() error { r = e.register(writer, "ours", n+i); return nil },
			func(s registry.Snapshot) bool { _, ok := find(s, id); return ok })
		out = change(
			func() error { return r.Deregister(e.ctx) },
			func(s registry.Snapshot) bool { _, ok := find(s, id); return !ok })
		return in, out
	}
	return scene{
		register:   func(i int) sample { in, _ := both(i); return in },
		deregister: func(i int) sample { _, out := both(i); return out },
		update: func(i int) sample {
			r, value := regs[i%n], fmt.Sprint(time.Now().UnixNano())
			id := r.Instance().ID
			return change(
				func() error { return r.Update(e.ctx, map[string]string{"at": value}) },
				func(s registry.Snapshot) bool { in, _ := find(s, id); return in.Meta["at"] == value })
		},
	}
}

func (e *bench) rawScene(n int) scene {
	writer := e.dial(nil)
	e.create("raw")
	e.populate(writer, "raw", n, pipeline)
	var m meter
	c := e.dial(&m)
	parent := e.root + "/raw"
	var event <-chan zk.Event
	list := func() {
		var err error
		_, _, event, err = c.ChildrenW(parent)
		e.check("children", err)
	}
	get := func(path string) {
		_, _, _, err := c.GetW(path)
		e.check("get", err)
	}
	list()

	change := func(f func() error, path string) sample {
		done := make(chan error, 1)
		before, begin := m.read(), time.Now()
		go func() { done <- f() }()
		<-event
		list()
		if path != "" {
			get(path)
		}
		s := sample{time.Since(begin), m.read().since(before)}
		e.check("change", <-done)
		return s
	}
	both := func(i int) (in, out sample) {
		path := parent + "/" + addr(n+i)
		in = change(func() error { _, err := writer.Create(path, record, zk.FlagEphemeral, acl); return err }, path)
		out = change(func() error { return writer.Delete(path, -1) }, "")
		return in, out
	}
	return scene{
		register:   func(i int) sample { in, _ := both(i); return in },
		deregister: func(i int) sample { _, out := both(i); return out },
		update: func(i int) sample {
			path := parent + "/" + addr(i%n)
			get(path) // a watcher has a watch on each
			return change(func() error {
				_, err := writer.Multi(
					&zk.DeleteRequest{Path: path, Version: -1},
					&zk.CreateRequest{Path: path, Data: record, Acl: acl, Flags: zk.FlagEphemeral})
				return err
			}, path)
		},
	}
}
