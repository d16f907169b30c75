package conformance

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/internal/pipenet"
	"github.com/go-rollcall/registry/timesvc"
)

// serving: a time server and its client on the registry.
var serving = []testCase{
	{name: "server-dies", promise: 45, needs: link, run: func(e *env) {
		n := e.network()
		servers := []*server{n.serve(), n.serve(), n.serve()}
		client := n.get(servers)
		for i := range 20 {
			client.ask("all is well", i)
		}
		// The process is gone: nobody answers, nobody deregisters or renews.
		servers[0].client.Cut()
		servers[0].Close()
		for i := range 20 {
			began := time.Now()
			client.ask("a server has just died", i)
			if d := time.Since(began); d > dialTimeout+e.h.Slack {
				e.Errorf("a request took %v after a server had died; want one dial timeout at most", d)
			}
		}
		client.watch.until(e.h.Dmax, "two servers", func(s registry.Snapshot) bool { return len(s.Instances) == 2 })
	}},
	{name: "registry-gone-servers-live", promise: 46, needs: link, run: func(e *env) {
		n := e.network()
		servers := []*server{n.serve(), n.serve()}
		client := n.get(servers)
		client.ask("all is well", 0)
		for _, c := range []Client{servers[0].client, servers[1].client, client.client} {
			c.Cut()
		}
		for i := range 30 {
			client.ask("the registry is gone", i)
			client.watch.quiet(e.h.Dmax / 10)
		}
		if seen := client.watch.since(0); len(seen[len(seen)-1].Instances) != 2 {
			e.Errorf("in an outage the set is [%s]", show(seen[len(seen)-1].Instances))
		}
		for _, c := range []Client{servers[0].client, servers[1].client, client.client} {
			c.Heal()
		}
		client.watch.until(e.back()+e.h.Dmax, "two servers, confirmed", func(s registry.Snapshot) bool { return s.Err == nil && len(s.Instances) == 2 })
		client.ask("the registry is back", 0)
	}},
	{name: "drain", promise: 47, run: func(e *env) {
		n := e.network()
		servers := []*server{n.serve(), n.serve(), n.serve()}
		client := n.get(servers)
		for _, s := range servers[:2] {
			s.stop()
			for i := 0; ; i++ {
				client.ask("a server drains", i)
				if closed(s.done) {
					break
				}
				client.watch.quiet(e.h.TTL / 100)
			}
			if s.err != nil {
				e.Errorf("a server that drained: %v", s.err)
			}
		}
		client.watch.until(0, "one server", func(s registry.Snapshot) bool { return len(s.Instances) == 1 })
		client.ask("two of three have drained", 0)
	}},
}

const dialTimeout = 500 * time.Millisecond

// A network is where servers listen: loopback, or pipes in a bubble.
type network struct {
	e     *env
	pipes pipenet.Net
	n     int
}

func (e *env) network() *network { return &network{e: e} }

// A server runs until it is stopped, or the case ends.
type server struct {
	timesvc.Server
	client Client
	stop   context.CancelFunc
	done   chan struct{}
	err    error
}

func (n *network) serve() *server {
	n.e.Helper()
	n.n++
	var l net.Listener
	if n.e.h.Virtual {
		l = n.pipes.Listen(fmt.Sprintf("server:%d", n.n))
	} else {
		var err error
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			n.e.Fatalf("%v", err)
		}
	}
	s := &server{client: n.e.client(), done: make(chan struct{})}
	s.Registry, s.Service, s.Drain = s.client.Registry, service, n.e.h.TTL/4
	s.Logger = n.e.logger()
	ctx, cancel := context.WithCancel(n.e.Context())
	s.stop = cancel
	go func() {
		defer close(s.done)
		s.err = s.Serve(ctx, l)
	}()
	n.e.Cleanup(func() { s.Close(); <-s.done })
	return s
}

// A timeClient asks for the time, and the same client's registry is watched.
type timeClient struct {
	*timesvc.Client
	e      *env
	client Client
	watch  *watcher
}

// get makes a client, and waits until it knows all servers.
func (n *network) get(servers []*server) *timeClient {
	n.e.Helper()
	c := n.e.client()
	opts := &timesvc.ClientOptions{TryTimeout: dialTimeout, Logger: n.e.logger()}
	if n.e.h.Virtual {
		opts.Dial = n.pipes.Dial
	}
	w := n.e.watch(c)
	w.until(n.e.back(), "all servers", func(s registry.Snapshot) bool { return len(s.Instances) == len(servers) })
	t := &timeClient{timesvc.NewClient(c.Registry, service, opts), n.e, c, w}
	n.e.Cleanup(func() { _ = t.Close() })
	return t
}

func (t *timeClient) ask(when string, i int) {
	t.e.Helper()
	if _, err := t.Get(t.e.Context()); err != nil {
		t.e.Fatalf("%s: request %d failed: %v", when, i, err)
	}
}
