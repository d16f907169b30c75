package etcdreg_test

import (
	"context"
	"net"
	"path"
	"testing"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/etcdreg"
	"github.com/go-rollcall/registry/internal/regbench"
	"github.com/go-rollcall/registry/internal/testserver"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"
)

// The server asks for no credentials. Where it does, it looks for each key that is
// put on a lease at all keys that are on it (etcd issue 15993): 10,000 on one are
// out of reach then, for the client library too.
func BenchmarkEtcd(b *testing.B) {
	e := testserver.Own(b, "etcd", testserver.StartEtcd)
	config := func(m *regbench.Meter) clientv3.Config {
		dial := func(ctx context.Context, addr string) (net.Conn, error) { return m.Dial(ctx, "tcp", addr) }
		return clientv3.Config{
			Endpoints: []string{e.Addr()}, Logger: zap.NewNop(),
			DialOptions: []grpc.DialOption{grpc.WithStatsHandler(messages{m}), grpc.WithContextDialer(dial)},
		}
	}
	regbench.Run(b, regbench.Subject{Batch: 100, InFlight: 8, Place: func(b *testing.B, root string) regbench.Place {
		b.Cleanup(func() { e.Admin(b).Delete(b, root) })
		return regbench.Place{
			Backend: func(m *regbench.Meter) registry.Backend {
				return etcdreg.New([]string{e.Addr()}, &etcdreg.Options{Root: root, Config: config(m)})
			},
			Connect: func(m *regbench.Meter, service string) (regbench.Client, error) {
				return connect(config(m), root, service)
			},
		}
	}})
}

// A rawClient is the client library by itself.
type rawClient struct {
	*clientv3.Client
	lease        clientv3.LeaseID
	root, prefix string
	news         clientv3.WatchChan
}

func connect(config clientv3.Config, root, service string) (regbench.Client, error) {
	client, err := clientv3.New(config)
	if err != nil {
		return nil, err
	}
	// Longer than a benchmark, so that nothing need be renewed.
	lease, err := client.Grant(context.Background(), 3600)
	if err != nil {
		return nil, err
	}
	return &rawClient{Client: client, lease: lease.ID, root: root + "/", prefix: root + "/" + service + "/"}, nil
}

func (c *rawClient) put(rec registry.Record) clientv3.Op {
	return clientv3.OpPut(c.prefix+rec.ID, string(rec.Value), clientv3.WithLease(c.lease))
}

func (c *rawClient) do(op clientv3.Op) error {
	_, err := c.Do(context.Background(), op)
	return err
}

func (c *rawClient) Write(recs []registry.Record, _ bool) error {
	ops := make([]clientv3.Op, len(recs))
	for i, rec := range recs {
		ops[i] = c.put(rec)
	}
	return c.do(clientv3.OpTxn(nil, ops, nil))
}

func (c *rawClient) Create(rec registry.Record) error { return c.do(c.put(rec)) }
func (c *rawClient) Update(rec registry.Record) error { return c.do(c.put(rec)) }
func (c *rawClient) Delete(id string) error           { return c.do(clientv3.OpDelete(c.prefix + id)) }

func (c *rawClient) Watch() error {
	resp, err := c.Get(context.Background(), c.prefix, clientv3.WithPrefix())
	if err == nil {
		c.news = c.Client.Watch(context.Background(), c.prefix, clientv3.WithPrefix(), clientv3.WithRev(resp.Header.Revision+1))
	}
	return err
}

// Await reads nothing: the record comes with the news.
func (c *rawClient) Await(ctx context.Context, rec registry.Record) error {
	for {
		select {
		case r := <-c.news:
			if err := r.Err(); err != nil {
				return err
			}
			for _, ev := range r.Events {
				if string(ev.Kv.Key) == c.prefix+rec.ID && string(ev.Kv.Value) == string(rec.Value) {
					return nil
				}
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *rawClient) List() (int, error) {
	resp, err := c.Get(context.Background(), c.prefix, clientv3.WithPrefix())
	if err != nil {
		return 0, err
	}
	return len(resp.Kvs), nil
}

func (c *rawClient) Services() (int, error) {
	resp, err := c.Get(context.Background(), c.root, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return 0, err
	}
	services := map[string]bool{}
	for _, kv := range resp.Kvs {
		services[path.Dir(string(kv.Key))] = true
	}
	return len(services), nil
}

func (c *rawClient) Close() {
	_, _ = c.Revoke(context.Background(), c.lease)
	_ = c.Client.Close()
}

// messages counts what is sent, on streams too.
type messages struct{ m *regbench.Meter }

func (messages) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (messages) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (messages) HandleConn(context.Context, stats.ConnStats)                       {}

func (h messages) HandleRPC(_ context.Context, s stats.RPCStats) {
	if _, ok := s.(*stats.OutPayload); ok {
		h.m.Request()
	}
}
