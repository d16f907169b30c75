// Package zkreg keeps a registry in ZooKeeper: each instance is an ephemeral
// node <root>/<service>/<id>, which the server deletes when the session of its
// owner ends.
//
// Importing it lets [registry.Open] open "zk://h1:2181,h2:2181/root". Programs
// that need more than a URL can say use [New].
//
// A Registry on ZooKeeper has up to two connections: one whose session owns what
// it registers, from the first Register on, and one for Lookup and Watch.
// Parent nodes are persistent, made as needed, and never removed.
//
// Nodes that other programs write are read too: a child named "ip:port" without
// data is an instance at that address.
//
// There are no credentials: nodes are made so that anybody may write them, as the ACL
// "world:anyone" says, and where the tree allows no less than a login, every call is
// [registry.ErrDenied]. Who is to be kept out is kept out by the network, or by TLS with
// certificates of clients, for which there is [Options].Dial.
package zkreg

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-zookeeper/zk"
)

const defaultPort = "2181"

func init() {
	registry.RegisterScheme("zk", func(_ context.Context, u *url.URL) (registry.Backend, error) {
		if _, err := registry.Params(u); err != nil {
			return nil, err
		}
		servers, err := registry.Servers(u, defaultPort)
		if err != nil {
			return nil, err
		}
		return New(servers, &Options{Root: u.Path}), nil
	})
}

// Options configure a Backend. The zero value and nil work.
type Options struct {
	// Root is the path under which the services are kept; a slash at either end
	// does not count. It is made as needed.
	Root string

	// Dial opens a connection to one server, instead of a net.Dialer: for TLS
	// or a proxy. It returns soon after ctx ends.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// readerTimeout is the session timeout asked for by the connection that reads.
// Nothing hangs on that session but the watches, and a dead link is found out
// by Current, so it need not be short. Servers grant 20 ticks at the most.
const readerTimeout = 10 * time.Second

// inFlight bounds the reads under way at once. The client sends one request for
// each call, so that many goroutines wait; beyond some hundred it gets no
// faster.
const inFlight = 256

// Backend is a [registry.Backend] on ZooKeeper. It is safe for concurrent use.
type Backend struct {
	servers []string
	opts    Options
	bad     error // what is wrong with the servers: the error of every call

	mu     sync.Mutex
	reader *conn // opened by the first read
	closed bool
	old    sync.WaitGroup // readers that are being closed
}

// New returns a Backend on an ensemble, each server as host:port, or as host for port
// 2181. It does not connect yet: a mistake in servers is the error of every call. Give it
// to [registry.New], which closes it.
func New(servers []string, opts *Options) *Backend {
	b := &Backend{}
	b.servers, b.bad = registry.Servers(&url.URL{Scheme: "zk", Host: strings.Join(servers, ",")}, defaultPort)
	if b.bad != nil && !strings.Contains(strings.Join(servers, ""), "@") {
		b.servers = slices.Clone(servers) // to be named
	}
	if opts != nil {
		b.opts = *opts
	}
	if b.opts.Root = strings.Trim(b.opts.Root, "/"); b.opts.Root != "" {
		b.opts.Root = "/" + b.opts.Root
	}
	if b.opts.Dial == nil {
		b.opts.Dial = new(net.Dialer).DialContext
	}
	return b
}

// String names the servers.
func (b *Backend) String() string { return "zookeeper " + strings.Join(b.servers, ",") }

func (b *Backend) path(service string) string { return b.opts.Root + "/" + service }

// reserved is what ZooKeeper keeps for itself at the top of its tree.
func (b *Backend) reserved(service string) bool { return b.opts.Root == "" && service == "zookeeper" }

// read returns the connection for reads, once it has a session.
func (b *Backend) read(ctx context.Context) (*conn, error) {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil, registry.ErrClosed
	}
	if old := b.reader; old != nil && old.over() {
		b.old.Go(func() { old.discard() })
		b.reader = nil
	}
	if b.reader == nil {
		c, err := b.open(readerTimeout, false)
		if err != nil {
			b.mu.Unlock()
			return nil, err
		}
		b.reader = c
	}
	c := b.reader
	b.mu.Unlock()
	return c, c.ready(ctx)
}

// Lookup reads what a majority of the servers has agreed on.
func (b *Backend) Lookup(ctx context.Context, service string) ([]registry.Record, error) {
	c, err := b.read(ctx)
	if err != nil {
		return nil, err
	}
	parent := b.path(service)
	if err := c.barrier(ctx, parent); err != nil {
		return nil, err
	}
	return c.records(ctx, parent, service)
}

// Services reads what a majority of the servers has agreed on, the names and then how many
// children each has.
func (b *Backend) Services(ctx context.Context) ([]string, error) {
	c, err := b.read(ctx)
	if err != nil {
		return nil, err
	}
	top := b.opts.Root
	if top == "" {
		top = "/"
	}
	if err := c.barrier(ctx, top); err != nil {
		return nil, err
	}
	names, err := c.children(ctx, top)
	if err != nil {
		return nil, err
	}
	err = parallel(len(names), func(i int) error {
		st, err := c.stat(ctx, b.path(names[i]))
		if err == nil && (st == nil || st.NumChildren == 0 || b.reserved(names[i])) {
			names[i] = ""
		}
		return err
	})
	return slices.DeleteFunc(names, func(s string) bool { return s == "" }), err
}

// Current compares what ZooKeeper counts for the parent: every child that comes
// or goes moves it, and so does an update, which is made as both.
func (b *Backend) Current(ctx context.Context, service, version string) (bool, error) {
	c, err := b.read(ctx)
	if err != nil {
		return false, err
	}
	st, err := c.stat(ctx, b.path(service))
	return versionOf(st) == version, err
}

// versionOf tells the sets of children that a parent ever has apart, also when
// the parent is deleted and made again.
func versionOf(parent *zk.Stat) string {
	if parent == nil {
		return "absent"
	}
	return fmt.Sprintf("%d.%d.%d", parent.Czxid, parent.Cversion, parent.Pzxid)
}

// Close ends the connection for reads, within a second.
func (b *Backend) Close() error {
	b.mu.Lock()
	b.closed = true
	c := b.reader
	b.mu.Unlock()
	if c != nil {
		c.discard()
	}
	b.old.Wait()
	return nil
}

// parallel calls f for 0 to n-1 with bounded concurrency. After an error it
// starts no more, and returns that.
func parallel(n int, f func(i int) error) error {
	if n == 1 {
		return f(0)
	}
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		next int
		fail error
	)
	for range min(n, inFlight) {
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				stop := i >= n || fail != nil
				mu.Unlock()
				if stop {
					return
				}
				if err := f(i); err != nil {
					mu.Lock()
					fail = err
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return fail
}
