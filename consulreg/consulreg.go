// Package consulreg keeps a registry in Consul: each instance is a key
// <root>/<service>/<id> that a session has locked, and that the server deletes
// when the session of its owner ends.
//
// Importing it lets [registry.Open] open "consul://h1:8500,h2:8500/root", with
// "?checks=serfHealth" if sessions are to end with a health check of the node.
// Programs that need more than a URL can say use [New]. The token, and what
// else the client library takes from the environment (CONSUL_HTTP_TOKEN,
// CONSUL_CACERT, …), is taken from there unless Options.Config has it.
//
// A session belongs to the node of the agent at which it was opened, and ends when
// that node leaves the cluster: best ask the agent of the machine. A query that waits
// for changes takes a connection: there is one for each Watch, and one for each
// service in which a session holds something. An agent allows an address 200, if
// it is not told otherwise (http_max_conns_per_client).
//
// Keys that other programs lock are read too: one named "ip:port" without a value
// is an instance at that address. Keys that no session holds are nobody's: they
// are not shown, and whoever registers there replaces them.
//
// A token needs the right to write all keys below <root>/<service>/ of services in which
// it registers, and to write sessions on the agent's node; and to read keys of those that
// it finds. Beside the records there may be a key "~/<session>".
//
// It needs Consul 1.14 or newer.
package consulreg

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/go-rollcall/registry"
	"github.com/hashicorp/consul/api"
)

const defaultPort = "8500"

func init() {
	registry.RegisterScheme("consul", func(_ context.Context, u *url.URL) (registry.Backend, error) {
		params, err := registry.Params(u, "checks")
		if err != nil {
			return nil, err
		}
		servers, err := registry.Servers(u, defaultPort)
		if err != nil {
			return nil, err
		}
		opts := &Options{Root: u.Path}
		if checks := params.Get("checks"); checks != "" {
			opts.Checks = strings.Split(checks, ",")
		}
		b := New(servers, opts)
		return b, b.bad
	})
}

// Options configure a Backend. The zero value and nil work.
type Options struct {
	// Root is the path under which the services are kept; a slash at either end
	// does not count. A token needs the right to list below it where the cluster
	// asks for that (enable_key_list_policy).
	Root string

	// Config is what the client library is to use: token, TLS, data center,
	// transport. It is copied, the transport too, which then speaks HTTP/1 without
	// compression; its Address and HttpClient do not count. A dial function of its own
	// returns soon after its ctx ends, or Close waits for it. What Config leaves out is
	// taken from the environment.
	Config *api.Config

	// Checks are health checks of the node that the server asks is on, such as
	// "serfHealth". When one fails, sessions end, sooner than by their TTL, and
	// also on a false alarm. None by default.
	Checks []string
}

// Backend is a [registry.Backend] on Consul. It is safe for concurrent use.
type Backend struct {
	link   *link
	client *api.Client
	root   string // "", or with a slash at its end
	checks []string
	bad    error // what is wrong with what New was given: the error of every call

	mu    sync.Mutex
	waits map[string]context.CancelFunc // by service: ends the query for which a Watch waits
}

// New returns a Backend on the agents or servers of one cluster, each as host:port, or as
// host for port 8500. They are taken in turn: when a request to one fails, the next goes to
// the next. It does not connect yet. A mistake in servers or opts is the error of every
// call. Give it to [registry.New], which closes it.
func New(servers []string, opts *Options) *Backend {
	if opts == nil {
		opts = &Options{}
	}
	b := &Backend{root: strings.Trim(opts.Root, "/"), checks: slices.Clone(opts.Checks), waits: map[string]context.CancelFunc{}}
	if b.root != "" {
		b.root += "/"
	}
	known, bad := registry.Servers(&url.URL{Scheme: "consul", Host: strings.Join(servers, ",")}, defaultPort)
	if bad != nil && !strings.Contains(strings.Join(servers, ""), "@") {
		known = servers // to be named
	}
	b.link, b.client, b.bad = open(known, opts.Config)
	b.bad = cmp.Or(bad, b.bad)
	return b
}

// String names the servers.
func (b *Backend) String() string { return "consul " + strings.Join(b.link.servers, ",") }

// path is where the keys of service are, with a slash at its end.
func (b *Backend) path(service string) string { return b.root + service + "/" }

// split returns the service and the ID in the key of a record.
func (b *Backend) split(key string) (service, id string) {
	service, id, _ = strings.Cut(strings.TrimPrefix(key, b.root), "/")
	return service, id
}

// Lookup reads through the leader, which asks the others whether it is still that.
func (b *Backend) Lookup(ctx context.Context, service string) ([]registry.Record, error) {
	pairs, err := b.list(ctx, service)
	recs := make([]registry.Record, len(pairs))
	for i, p := range pairs {
		recs[i] = record(service, p)
	}
	return recs, err
}

func record(service string, p *api.KVPair) registry.Record {
	return registry.Record{Service: service, ID: id(p.Key), Value: p.Value}
}

// id is what stands behind the last slash of a record's key.
func id(key string) string { return key[strings.LastIndexByte(key, '/')+1:] }

// list reads all keys of service that are records: right below it, and held.
func (b *Backend) list(ctx context.Context, service string) (api.KVPairs, error) {
	path := b.path(service)
	pairs, meta, err := ask(b, func() (api.KVPairs, *api.QueryMeta, error) {
		return b.client.KV().List(path, consistent(ctx))
	})
	if err == nil {
		err = b.trust(ctx, path, meta, len(pairs) == 0)
	}
	if err != nil {
		return nil, err
	}
	return held(path, pairs), nil
}

// held returns those of pairs that are records.
func held(path string, pairs api.KVPairs) api.KVPairs {
	return slices.DeleteFunc(pairs, func(p *api.KVPair) bool {
		return p.Session == "" || !below(path, p.Key)
	})
}

// below reports whether key is right below path.
func below(path, key string) bool { return path+id(key) == key && key != path }

// trust makes an error of an answer that lacks what the token may not read: the
// server leaves it out without a word. It says so in a field of the answer, but
// not to who has no token. So when there is nothing at all it is asked for a key
// that need not be there: that it refuses in so many words.
func (b *Backend) trust(ctx context.Context, path string, meta *api.QueryMeta, empty bool) error {
	switch {
	case meta.LastIndex == 0:
		return fmt.Errorf("%v: an answer without an index is none of Consul's", b)
	case meta.ResultsFilteredByACLs:
		return b.unreadable(path)
	case !empty || path == "":
		return nil
	}
	_, _, err := ask(b, func() (*api.KVPair, *api.QueryMeta, error) {
		return b.client.KV().Get(path, (&api.QueryOptions{}).WithContext(ctx))
	})
	return err
}

func (b *Backend) unreadable(path string) error {
	return fmt.Errorf("%v: %w: the token may not read all of %s", b, registry.ErrDenied, path)
}

// Services reads the names of all keys, and then looks in each service for a key that
// a session holds, at 1, 2, 4, … of them at a time: the first is mostly held.
func (b *Backend) Services(ctx context.Context) ([]string, error) {
	names, meta, err := ask(b, func() ([]string, *api.QueryMeta, error) {
		return b.client.KV().Keys(b.root, "", consistent(ctx))
	})
	if err == nil {
		err = b.trust(ctx, b.root, meta, len(names) == 0)
	}
	if err != nil {
		return nil, err
	}
	unread := map[string][]string{} // keys, by service
	for _, key := range names {
		if service, _ := b.split(key); below(b.path(service), key) {
			unread[service] = append(unread[service], key)
		}
	}
	var services []string
	for n := 1; len(unread) > 0; n *= 2 {
		var now []string
		for service, keys := range unread {
			now = append(now, keys[:min(n, len(keys))]...)
			if unread[service] = keys[min(n, len(keys)):]; len(unread[service]) == 0 {
				delete(unread, service)
			}
		}
		for some := range slices.Chunk(now, batch.Records) {
			found, err := b.get(ctx, some)
			if err == nil && len(found) < len(some) {
				err = b.unreadable(b.root)
			}
			if err != nil {
				return nil, err
			}
			for key, p := range found {
				if service, _ := b.split(key); p != nil && p.Session != "" {
					services = append(services, service)
					delete(unread, service)
				}
			}
		}
	}
	slices.Sort(services)
	return slices.Compact(services), nil
}

// Close ends all connections: none is in use any more, but some may be being made.
func (b *Backend) Close() error {
	b.link.close()
	return nil
}
