// Package etcdreg keeps a registry in etcd: each instance is a key
// <root>/<service>/<id> on the lease of its owner, which the server deletes when
// the lease ends.
//
// Importing it lets [registry.Open] open "etcd://h1:2379,h2:2379/root". Programs
// that need more than a URL can say use [New].
//
// A Registry on etcd has one connection, to one server at a time, and moves to
// the next when that one fails; and one watch stream, whatever it watches. Leases
// are granted in whole seconds, and for no less than 1.5 times the election
// timeout of the servers: 2 s by default. Servers of etcd 3.4 and 3.5 need the fixes of
// its issues 15220 and 17507.
//
// Where the servers ask for rights, a client needs them for all keys below
// <root>/<service>/: to read those of services that it finds, and to read and write
// those of services in which it registers. Beside the records there may be a key
// "~/<lease>".
package etcdreg

import (
	"context"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"

	"github.com/go-rollcall/registry"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func init() {
	registry.RegisterScheme("etcd", func(_ context.Context, u *url.URL) (registry.Backend, error) {
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

const defaultPort = "2379"

// Options configure a Backend. The zero value and nil work.
type Options struct {
	// Root is what the keys begin with: "", or a path. A slash before it is added,
	// and one behind it does not count.
	Root string

	// Config is the client library's: credentials, TLS, a proxy. Its Endpoints,
	// AutoSyncInterval, Context, Logger, LogConfig and MaxUnaryRetries are not used: the
	// library's log goes to slog's default, at debug.
	Config clientv3.Config
}

// Backend is a [registry.Backend] on etcd. It is safe for concurrent use.
type Backend struct {
	servers []string
	opts    Options

	mu      sync.Mutex
	conn    *conn // opened by the first call
	turn    int   // which of servers is next
	watches map[string]*follower
	closed  bool
	bad     error          // what is wrong with what New was given: the error of every call
	old     sync.WaitGroup // connections that are being closed
}

// New returns a Backend on a cluster, each server as host:port, or as host for port 2379.
// It does not connect yet. A mistake in servers or opts is the error of every call. Give it to
// [registry.New], which closes it.
func New(servers []string, opts *Options) *Backend {
	b := &Backend{turn: rand.IntN(max(len(servers), 1)), watches: map[string]*follower{}}
	if opts != nil {
		b.opts = *opts
	}
	if b.opts.Root = strings.Trim(b.opts.Root, "/"); b.opts.Root != "" {
		b.opts.Root = "/" + b.opts.Root
	}
	b.servers, b.bad = registry.Servers(&url.URL{Scheme: "etcd", Host: strings.Join(servers, ",")}, defaultPort)
	return b
}

// String names the servers.
func (b *Backend) String() string { return "etcd " + strings.Join(b.servers, ",") }

// prefix is what the keys of service begin with.
func (b *Backend) prefix(service string) string { return b.opts.Root + "/" + service + "/" }

func (b *Backend) key(service, id string) string { return b.prefix(service) + id }

// Lookup reads what a majority of the servers has agreed on.
func (b *Backend) Lookup(ctx context.Context, service string) ([]registry.Record, error) {
	var recs []registry.Record
	err := b.do(ctx, func(ctx context.Context, c *conn) error {
		resp, err := c.client.Get(ctx, b.prefix(service), clientv3.WithPrefix())
		if err == nil {
			recs = b.records(service, resp.Kvs)
		}
		return err
	})
	return recs, err
}

// Services goes from one service to the first key behind it, all as of one
// revision: what is sent does not depend on the number of instances.
func (b *Backend) Services(ctx context.Context) (names []string, err error) {
	err = b.do(ctx, func(ctx context.Context, c *conn) error {
		names = nil
		top := b.opts.Root + "/"
		end := clientv3.GetPrefixRangeEnd(top)
		revision := int64(0)
		for from := top; from < end; {
			resp, err := c.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithKeysOnly(), clientv3.WithLimit(1), clientv3.WithRev(revision))
			if err != nil {
				return err
			}
			if len(resp.Kvs) == 0 {
				break
			}
			if revision == 0 {
				revision = resp.Header.Revision
			}
			key := string(resp.Kvs[0].Key)
			service, id, _ := strings.Cut(strings.TrimPrefix(key, top), "/")
			sub, _, deep := strings.Cut(id, "/")
			switch {
			case deep: // somebody else's: skip what is below it
				from = clientv3.GetPrefixRangeEnd(b.prefix(service) + sub + "/")
			case id != "":
				names = append(names, service)
				from = clientv3.GetPrefixRangeEnd(b.prefix(service))
			default:
				from = key + "\x00"
			}
		}
		return nil
	})
	return names, err
}

// Close gives up the connection.
func (b *Backend) Close() error {
	b.mu.Lock()
	b.closed = true
	c := b.conn
	b.conn = nil
	b.mu.Unlock()
	if c != nil {
		c.close()
	}
	b.old.Wait()
	return nil
}
