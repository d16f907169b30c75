package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-kit/kit/endpoint"
	"github.com/go-kit/kit/sd"
	"github.com/go-kit/kit/sd/lb"
	kitlog "github.com/go-kit/log"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/balance"
	"github.com/go-rollcall/registry/memreg"
)

const service = "svc"

// A set is a service with n instances, known to both sides.
type set struct {
	n     int
	store *memreg.Store
	reg   registry.Registry
	view  *registry.View
	b     *balance.Balancer

	addrs      []string
	instancer  *instancer
	endpointer *sd.DefaultEndpointer
	toOurs     atomic.Bool // who hears of changes
}

func addr(i int) string { return fmt.Sprintf("10.0.%d.%d:8897", i/250, i%250) }

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func newSet(n int) *set {
	s := &set{n: n, store: memreg.NewStore(), instancer: &instancer{}}
	for i := range n {
		s.addrs = append(s.addrs, addr(i))
		s.plant(i, 0)
	}
	quiet := slog.New(slog.DiscardHandler)
	s.reg = registry.New(s.store.Conn(), &registry.Options{Logger: quiet})
	view, err := registry.Follow(context.Background(), s.reg, service, &registry.FollowOptions{Logger: quiet})
	must(err)
	s.view = view
	factory := func(string) (endpoint.Endpoint, io.Closer, error) { return endpoint.Nop, nil, nil }
	s.endpointer = sd.NewEndpointer(s.instancer, factory, kitlog.NewNopLogger())
	s.instancer.send(s.addrs)
	return s
}

func (s *set) plant(i, k int) {
	s.store.Plant(service, addr(i), fmt.Appendf(nil, `{"addr":%q,"meta":{"zone":"%d","weight":"%d"}}`, addr(i), i%2, 1+(i+k)%5))
}

func (s *set) close() {
	s.endpointer.Close()
	s.b.Close()
	s.view.Close()
	must(s.reg.Close())
}

func (s *set) follow(ours bool) { s.toOurs.Store(ours) }

// change changes one instance at a time: it goes, and comes back the next time.
func (s *set) change(every time.Duration) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for k := 0; ; k++ {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			i := k / 2 % s.n
			switch gone := k%2 == 0; {
			case s.toOurs.Load() && gone:
				s.store.Remove(service, addr(i))
			case s.toOurs.Load():
				s.plant(i, k)
			case gone:
				s.instancer.send(slices.Delete(slices.Clone(s.addrs), i, i+1))
			default:
				s.instancer.send(s.addrs)
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// An instancer is how go-kit is told of a set.
type instancer struct{ ch chan<- sd.Event }

func (i *instancer) Register(ch chan<- sd.Event)   { i.ch = ch }
func (i *instancer) Deregister(ch chan<- sd.Event) {}
func (i *instancer) Stop()                         {}

func (i *instancer) send(addrs []string) { i.ch <- sd.Event{Instances: slices.Clone(addrs)} }

// ours is this library.
type ours struct {
	b     *balance.Balancer
	keyed bool
	r     []balance.Request
}

func (s *set) ours(policy string) *ours {
	p := map[string]func() balance.Policy{
		"round robin": balance.RoundRobin, "random": balance.Random, "weighted": balance.Weighted, "p2c": balance.P2C, "hash": balance.Hash,
	}[policy]()
	s.b = balance.New(s.view, p, &balance.Options{Logger: slog.New(slog.DiscardHandler)})
	picked, err := s.b.Pick(context.Background())
	must(err)
	picked.Done(nil)
	o := &ours{b: s.b, keyed: policy == "hash"}
	for i := range 1024 {
		o.r = append(o.r, balance.Request{Key: fmt.Sprintf("user-%06d", i*977)})
	}
	return o
}

var sink atomic.Uint64

func (o *ours) pick(pb *testing.PB) {
	ctx, got := context.Background(), 0
	count := func(p balance.Picked, err error) {
		must(err)
		if p != (balance.Picked{}) {
			got++
		}
	}
	if o.keyed {
		for i := 0; pb.Next(); i++ {
			count(o.b.PickFor(ctx, o.r[i%1024]))
		}
	} else {
		for pb.Next() {
			count(o.b.Pick(ctx))
		}
	}
	sink.Add(uint64(got))
}

// pickDone is all that a request needs; it has a key.
func (o *ours) pickDone(pb *testing.PB) {
	ctx, got := context.Background(), 0
	for i := 0; pb.Next(); i++ {
		p, err := o.b.PickFor(ctx, o.r[i%1024])
		must(err)
		got += len(p.Instance().Addr)
		p.Done(nil)
	}
	sink.Add(uint64(got))
}

// theirs is go-kit. Its random balancer is not for concurrent use: each goroutine has one.
type theirs struct{ balancer, fixed func() lb.Balancer }

func (s *set) theirs(policy string) *theirs {
	endpoints := make(sd.FixedEndpointer, s.n)
	for i := range endpoints {
		endpoints[i] = endpoint.Nop
	}
	switch policy {
	case "round robin":
		b, fixed := lb.NewRoundRobin(s.endpointer), lb.NewRoundRobin(endpoints)
		return &theirs{func() lb.Balancer { return b }, func() lb.Balancer { return fixed }}
	case "random":
		return &theirs{
			func() lb.Balancer { return lb.NewRandom(s.endpointer, rand.Int64()) },
			func() lb.Balancer { return lb.NewRandom(endpoints, rand.Int64()) },
		}
	}
	return nil
}

func (t *theirs) pick(pb *testing.PB)      { run(t.balancer(), pb) }
func (t *theirs) pickFixed(pb *testing.PB) { run(t.fixed(), pb) }

func run(b lb.Balancer, pb *testing.PB) {
	got := 0
	for pb.Next() {
		e, err := b.Endpoint()
		must(err)
		if e != nil {
			got++
		}
	}
	sink.Add(uint64(got))
}
