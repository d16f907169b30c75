package herd_test

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/consulreg"
	"github.com/go-rollcall/registry/etcdreg"
	"github.com/go-rollcall/registry/internal/testserver"
	"github.com/go-rollcall/registry/zkreg"
	"github.com/hashicorp/consul/api"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"
)

type backend struct {
	name  string        // of the package
	kind  string        // as in REGISTRY_TEST_REQUIRE
	dmax  time.Duration // from a last renewal to the end of the record
	start func() (testserver.Server, error)
	open  func(addr string, g *gate) registry.Backend // through the gate, and counted
}

// ttl is the default.
const ttl = 10 * time.Second

var backends = []backend{
	{"zkreg", "zk", ttl + 300*time.Millisecond, as(testserver.StartPatientZooKeeper), openZooKeeper},
	{"etcdreg", "etcd", ttl + 600*time.Millisecond, as(testserver.StartEtcd), openEtcd},
	{"consulreg", "consul", 2*ttl + 100*time.Millisecond, as(testserver.StartConsul), openConsul},
}

func as[S testserver.Server](start func() (S, error)) func() (testserver.Server, error) {
	return func() (testserver.Server, error) { return start() }
}

const root = "/herd"

// openZooKeeper counts what is written: the client library writes a request at a
// time.
func openZooKeeper(addr string, g *gate) registry.Backend {
	return zkreg.New([]string{addr}, &zkreg.Options{Root: root, Dial: g.dial(func([]byte) { g.tally.add(requests) })})
}

// openEtcd counts messages, those on streams too.
func openEtcd(addr string, g *gate) registry.Backend {
	dial := func(ctx context.Context, addr string) (net.Conn, error) { return g.dial(nil)(ctx, "tcp", addr) }
	return etcdreg.New([]string{addr}, &etcdreg.Options{Root: root, Config: clientv3.Config{
		DialOptions: []grpc.DialOption{grpc.WithStatsHandler(messages{g.tally}), grpc.WithContextDialer(dial)},
	}})
}

type messages struct{ tally *tally }

func (messages) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (messages) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (messages) HandleConn(context.Context, stats.ConnStats)                       {}

func (m messages) HandleRPC(_ context.Context, s stats.RPCStats) {
	if _, ok := s.(*stats.OutPayload); ok {
		m.tally.add(requests)
	}
}

// openConsul counts requests: the transport asks for a proxy for each.
func openConsul(addr string, g *gate) registry.Backend {
	count := func(*http.Request) (*url.URL, error) { g.tally.add(requests); return nil, nil }
	return consulreg.New([]string{addr}, &consulreg.Options{Root: root, Config: &api.Config{
		Transport: &http.Transport{DialContext: g.dial(nil), Proxy: count},
	}})
}
