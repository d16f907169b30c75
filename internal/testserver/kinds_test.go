package testserver_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/go-rollcall/registry/internal/testserver"
	"github.com/go-zookeeper/zk"
	"github.com/hashicorp/consul/api"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// A kind is what the tests that all kinds share need of one. The two functions
// use a connection of their own to the server at addr; what get answers is the
// newest.
type kind struct {
	name    string
	one     func() (testserver.Server, error)
	cluster func() (cluster, error)
	put     func(ctx context.Context, addr, value string) error
	get     func(ctx context.Context, addr string) (string, error)
}

var kinds = []kind{
	{"zk", one(testserver.StartZooKeeper), three(testserver.StartZooKeeperCluster), zkPut, zkGet},
	{"etcd", one(testserver.StartEtcd), three(testserver.StartEtcdCluster), etcdPut, etcdGet},
	{"consul", one(testserver.StartConsul), three(testserver.StartConsulCluster), consulPut, consulGet},
}

func eachKind(t *testing.T, f func(*testing.T, kind)) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			f(t, k)
		})
	}
}

// A cluster is a [testserver.Cluster] of any kind.
type cluster struct {
	members []testserver.Server
	leader  func(testing.TB) testserver.Server
	start   func(testing.TB)
	isolate func(testing.TB, testserver.Server)
	reunite func(testing.TB)
	stop    func()
}

func (c cluster) Stop() { c.stop() }

func one[S testserver.Server](start func() (S, error)) func() (testserver.Server, error) {
	return func() (testserver.Server, error) { return start() }
}

func three[S testserver.Server](start func() (*testserver.Cluster[S], error)) func() (cluster, error) {
	return func() (cluster, error) {
		c, err := start()
		if err != nil {
			return cluster{}, err
		}
		any := cluster{
			start: c.Start, stop: c.Stop, reunite: c.Reunite,
			leader:  func(t testing.TB) testserver.Server { return c.Leader(t) },
			isolate: func(t testing.TB, s testserver.Server) { c.Isolate(t, s.(S)) },
		}
		for _, s := range c.Members {
			any.members = append(any.members, s)
		}
		return any, nil
	}
}

// mustPut stores value, and tries again while the server cannot, as happens when
// the leader has changed.
func (k kind) mustPut(t *testing.T, s testserver.Server, value string) {
	t.Helper()
	k.again(t, "put "+value, func(ctx context.Context) error { return k.put(ctx, s.Addr(), value) })
}

// mustHave checks that the server has the value.
func (k kind) mustHave(t *testing.T, s testserver.Server, value string) {
	t.Helper()
	k.again(t, "get "+value, func(ctx context.Context) error {
		got, err := k.get(ctx, s.Addr())
		if err == nil && got != value {
			t.Fatalf("the server has %q, want %q", got, value)
		}
		return err
	})
}

func (k kind) again(t *testing.T, op string, f func(context.Context) error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		err := f(ctx)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", op, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

const testKey = "testserver-kinds"

// withZK bounds f, since a call of the client waits for a lost server for ever.
func withZK(ctx context.Context, addr string, f func(*zk.Conn) error) error {
	conn, _, err := zk.Connect([]string{addr}, 4*time.Second, zk.WithLogger(quiet{}))
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, conn.Close)()
	defer conn.Close()
	return f(conn)
}

func zkPut(ctx context.Context, addr, value string) error {
	return withZK(ctx, addr, func(conn *zk.Conn) error {
		_, err := conn.Create("/"+testKey, []byte(value), 0, zk.WorldACL(zk.PermAll))
		if errors.Is(err, zk.ErrNodeExists) {
			_, err = conn.Set("/"+testKey, []byte(value), -1)
		}
		return err
	})
}

func zkGet(ctx context.Context, addr string) (value string, err error) {
	err = withZK(ctx, addr, func(conn *zk.Conn) error {
		if _, err := conn.Sync("/" + testKey); err != nil {
			return err
		}
		b, _, err := conn.Get("/" + testKey)
		value = string(b)
		return err
	})
	return value, err
}

func withEtcd(addr string, f func(*clientv3.Client) error) error {
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{addr}, Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	defer c.Close()
	return f(c)
}

func etcdPut(ctx context.Context, addr, value string) error {
	return withEtcd(addr, func(c *clientv3.Client) error {
		_, err := c.Put(ctx, testKey, value)
		return err
	})
}

func etcdGet(ctx context.Context, addr string) (value string, err error) {
	err = withEtcd(addr, func(c *clientv3.Client) error {
		got, err := c.Get(ctx, testKey)
		if err == nil && len(got.Kvs) == 1 {
			value = string(got.Kvs[0].Value)
		}
		return err
	})
	return value, err
}

func consulClient(addr, token string) (*api.Client, error) {
	return api.NewClient(&api.Config{Address: addr, Scheme: "http", Token: token})
}

func consulPut(ctx context.Context, addr, value string) error {
	c, err := consulClient(addr, "")
	if err != nil {
		return err
	}
	_, err = c.KV().Put(&api.KVPair{Key: testKey, Value: []byte(value)}, (&api.WriteOptions{}).WithContext(ctx))
	return err
}

func consulGet(ctx context.Context, addr string) (string, error) {
	c, err := consulClient(addr, "")
	if err != nil {
		return "", err
	}
	pair, _, err := c.KV().Get(testKey, (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx))
	if err != nil || pair == nil {
		return "", err
	}
	return string(pair.Value), nil
}
