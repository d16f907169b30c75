package consulreg_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/consulreg"
	"github.com/go-rollcall/registry/internal/regbench"
	"github.com/go-rollcall/registry/internal/testserver"
	"github.com/hashicorp/consul/api"
)

func BenchmarkConsul(b *testing.B) {
	regbench.Run(b, regbench.Subject{Batch: 64, InFlight: 16, Place: func(b *testing.B, root string) regbench.Place {
		server := testserver.SharedConsul(b)
		admin := server.Admin(b)
		root = strings.TrimPrefix(root, "/")
		token := admin.Token(b, root)
		b.Cleanup(func() { admin.Delete(b, root) })
		config := func(m *regbench.Meter) *api.Config {
			// Asked for a proxy for each request.
			count := func(*http.Request) (*url.URL, error) { m.Request(); return nil, nil }
			return &api.Config{Address: server.Addr(), Token: token, Transport: &http.Transport{DialContext: m.Dial, Proxy: count, MaxIdleConnsPerHost: 32}}
		}
		return regbench.Place{
			Backend: func(m *regbench.Meter) registry.Backend {
				return consulreg.New([]string{server.Addr()}, &consulreg.Options{Root: root, Config: config(m)})
			},
			Connect: func(m *regbench.Meter, service string) (regbench.Client, error) {
				return connect(config(m), root, service)
			},
		}
	}})
}

// A rawClient is the client library by itself.
type rawClient struct {
	kv                    *api.KV
	root, prefix, session string
	ctx                   context.Context // of the watch
	watch                 sync.WaitGroup
	news                  chan api.KVPairs
	close                 func()
}

func connect(config *api.Config, root, service string) (regbench.Client, error) {
	client, err := api.NewClient(config)
	if err != nil {
		return nil, err
	}
	c := &rawClient{kv: client.KV(), root: root + "/", prefix: root + "/" + service + "/", news: make(chan api.KVPairs, 100)}
	// The TTL is longer than a benchmark, so that nothing need be renewed.
	c.session, _, err = client.Session().CreateNoChecks(&api.SessionEntry{Behavior: api.SessionBehaviorDelete, LockDelay: time.Millisecond, TTL: "1h"}, nil)
	ctx, cancel := context.WithCancel(context.Background())
	c.ctx, c.close = ctx, func() {
		cancel()
		c.watch.Wait()
		_, _ = client.Session().Destroy(c.session, nil)
		config.Transport.CloseIdleConnections()
	}
	return c, err
}

func (c *rawClient) Close() { c.close() }

func (c *rawClient) Write(recs []registry.Record, _ bool) error {
	ops := make(api.KVTxnOps, len(recs))
	for i, rec := range recs {
		ops[i] = &api.KVTxnOp{Verb: api.KVLock, Key: c.prefix + rec.ID, Value: rec.Value, Session: c.session}
	}
	ok, _, _, err := c.kv.Txn(ops, nil)
	return refused(ok, err)
}

func (c *rawClient) Create(rec registry.Record) error {
	ok, _, err := c.kv.Acquire(&api.KVPair{Key: c.prefix + rec.ID, Value: rec.Value, Session: c.session}, nil)
	return refused(ok, err)
}

func refused(ok bool, err error) error {
	if err == nil && !ok {
		err = errors.New("somebody else holds it")
	}
	return err
}

func (c *rawClient) Update(rec registry.Record) error { return c.Create(rec) }

func (c *rawClient) Delete(id string) error {
	_, err := c.kv.Delete(c.prefix+id, nil)
	return err
}

// Watch reads all whenever something has changed: the server does not tell what.
func (c *rawClient) Watch() error {
	_, meta, err := c.list(0)
	if err != nil {
		return err
	}
	c.watch.Go(func() {
		for {
			pairs, next, err := c.list(meta.LastIndex)
			if err != nil {
				return
			}
			meta = next
			c.news <- pairs
		}
	})
	return nil
}

func (c *rawClient) list(index uint64) (api.KVPairs, *api.QueryMeta, error) {
	return c.kv.List(c.prefix, (&api.QueryOptions{WaitIndex: index}).WithContext(c.ctx))
}

func (c *rawClient) Await(ctx context.Context, rec registry.Record) error {
	for {
		select {
		case pairs := <-c.news:
			i := slices.IndexFunc(pairs, func(p *api.KVPair) bool { return p.Key == c.prefix+rec.ID })
			if i < 0 && rec.Value == nil || i >= 0 && bytes.Equal(pairs[i].Value, rec.Value) {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *rawClient) List() (int, error) {
	pairs, _, err := c.list(0)
	return len(pairs), err
}

func (c *rawClient) Services() (int, error) {
	names, _, err := c.kv.Keys(c.root, "/", nil)
	return len(names), err
}
