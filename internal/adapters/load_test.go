// Package adapters_test puts the adapters for TCP, HTTP and gRPC under load, with real
// servers behind them, while servers and the registry go away: no request may fail.
package adapters_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/conformance"
)

const (
	service = "go_servers"
	workers = 64
	pause   = 640 * time.Millisecond // of a worker between two requests: 100 a second in all
	slack   = 2 * time.Second        // for a slow machine
	limit   = 5 * time.Second        // of a request: more than a dial that nobody answers
)

// A protocol is what servers and clients speak.
type protocol struct {
	name string

	// serve answers on l, each request with l's address. stop finishes what is under
	// way, kill does not.
	serve func(l net.Listener) (stop, kill func())

	// client returns a function that makes a request, and says who has answered.
	client func(t *testing.T, reg registry.Registry) (ask func(context.Context) (string, error))
}

// run checks each adapter on a registry whose clients can be cut off, and are for the
// time of outage.
func run(t *testing.T, dmax, outage time.Duration, open func(*testing.T) func(*registry.Options) conformance.Client) {
	for _, p := range []protocol{overTCP, overHTTP, overGRPC} {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			for _, s := range scenes {
				t.Run(s.name, func(t *testing.T) {
					w := &world{T: t, dmax: dmax, p: p, outage: outage, open: open(t)}
					w.client = w.connect()
					w.ask = p.client(t, w.client.Registry)
					for range 3 {
						w.start()
					}
					w.sees(3)
					w.load(s.run)
				})
			}
		})
	}
}

// scenes are what happens under load.
var scenes = []struct {
	name string
	run  func(*world)
}{
	{"one of three is killed", func(w *world) {
		dead := w.servers[0]
		dead.client.Cut() // its process is gone: nobody deregisters or renews
		dead.kill()
		w.sees(2)
		w.noneAsks(dead)
	}},
	{"one of three is drained", func(w *world) {
		w.drain(w.servers[0])
		w.noneAsks(w.servers[0])
	}},
	{"the registry is gone", func(w *world) {
		all := []conformance.Client{w.client}
		for _, s := range w.servers {
			all = append(all, s.client)
		}
		for _, c := range all {
			c.Cut()
		}
		w.lasts(w.outage)
		for _, c := range all {
			c.Heal()
		}
		w.sees(3)
	}},
	{"all are replaced one by one", func(w *world) {
		for _, old := range w.servers[:3] {
			w.start()
			w.sees(4)
			w.drain(old)
		}
		w.noneAsks(w.servers[:3]...)
	}},
}

// A world is three servers or more, and a client of theirs.
type world struct {
	*testing.T
	dmax    time.Duration
	p       protocol
	outage  time.Duration
	open    func(*registry.Options) conformance.Client
	client  conformance.Client
	ask     func(context.Context) (string, error)
	servers []*server

	mu       sync.Mutex
	answers  map[string]int // by address
	failures []error
}

type server struct {
	addr       string
	client     conformance.Client
	reg        registry.Registration
	stop, kill func()
	drained    bool
}

func (w *world) connect() conformance.Client {
	c := w.open(&registry.Options{TTL: ttl, Logger: slog.New(slog.NewTextHandler(w.Output(), nil))})
	w.Cleanup(func() {
		c.Heal()
		_ = c.Registry.Close()
		if c.Release != nil {
			c.Release()
		}
	})
	return c
}

func (w *world) start() {
	w.Helper()
	l := w.listen()
	s := &server{addr: l.Addr().String()}
	s.stop, s.kill = w.p.serve(l)
	w.Cleanup(s.kill)
	s.client = w.connect()
	var err error
	if s.reg, err = s.client.Registry.Register(w.Context(), registry.Instance{Service: service, Addr: s.addr}); err != nil {
		w.Fatal(err)
	}
	w.servers = append(w.servers, s)
}

// listen takes a port that no server of this world has had, by which they are told
// apart.
func (w *world) listen() net.Listener {
	w.Helper()
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			w.Fatal(err)
		}
		if !slices.ContainsFunc(w.servers, func(s *server) bool { return s.addr == l.Addr().String() }) {
			return l
		}
		defer l.Close() // held until there is another
	}
}

// drain withdraws s, and stops it when clients have heard of that.
func (w *world) drain(s *server) {
	w.Helper()
	if err := s.reg.Deregister(w.Context()); err != nil {
		w.Error(err)
	}
	s.drained = true
	left := 0
	for _, s := range w.servers {
		if !s.drained {
			left++
		}
	}
	w.sees(left)
	w.lasts(ttl / 4)
	s.stop()
}

// sees waits until the client's registry shows n instances, confirmed.
func (w *world) sees(n int) {
	w.Helper()
	d := 2*w.dmax + 3*registry.MaxBackoff + slack
	ctx, cancel := context.WithTimeout(w.Context(), d)
	defer cancel()
	for snap, err := range w.client.Registry.Watch(ctx, service) {
		if err != nil {
			w.Errorf("want %d instances within %v: %v", n, d, err)
			return
		}
		if snap.Err == nil && len(snap.Instances) == n {
			return
		}
	}
}

// lasts is for what goes on for a time.
func (w *world) lasts(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	<-t.C
}

// load makes requests all the while that run runs, of which none may fail.
func (w *world) load(run func(*world)) {
	w.answers = map[string]int{}
	ctx, stop := context.WithCancel(w.Context())
	var working sync.WaitGroup
	for range workers {
		working.Go(func() {
			w.lasts(rand.N(pause)) // each has its own moments
			tick := time.NewTicker(pause)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					w.once()
				case <-ctx.Done():
					return
				}
			}
		})
	}
	w.answered(w.servers...)
	run(w)
	stop()
	working.Wait()
	n := 0
	for _, k := range w.answers {
		n += k
	}
	if len(w.failures) > 0 {
		w.Errorf("%d of %d requests have failed; the first: %v", len(w.failures), n+len(w.failures), w.failures[0])
	}
	w.Logf("%d requests, %d failed; answers by server: %v", n+len(w.failures), len(w.failures), w.answers)
}

func (w *world) once() {
	ctx, cancel := context.WithTimeout(w.Context(), limit)
	defer cancel()
	who, err := w.ask(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.failures = append(w.failures, fmt.Errorf("at %s: %w", time.Now().Format("15:04:05.000"), err))
		return
	}
	w.answers[who]++
}

// answered waits until each of the servers has had requests: the load is on.
func (w *world) answered(servers ...*server) {
	w.Helper()
	end := time.NewTimer(slack + limit)
	defer end.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		missing := 0
		w.mu.Lock()
		for _, s := range servers {
			if w.answers[s.addr] == 0 {
				missing++
			}
		}
		w.mu.Unlock()
		if missing == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-end.C:
			w.Errorf("%d of %d servers were not asked", missing, len(servers))
			return
		}
	}
}

// noneAsks fails if one of the servers answers any more while the others do.
func (w *world) noneAsks(gone ...*server) {
	w.Helper()
	w.mu.Lock()
	before := make([]int, len(gone))
	for i, s := range gone {
		before[i] = w.answers[s.addr]
	}
	w.mu.Unlock()
	w.lasts(ttl / 4)
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, s := range gone {
		if n := w.answers[s.addr] - before[i]; n > 0 {
			w.Errorf("%s is gone, and has answered %d requests", s.addr, n)
		}
	}
}
