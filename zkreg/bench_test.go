package zkreg_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/internal/regbench"
	"github.com/go-rollcall/registry/internal/testserver"
	"github.com/go-rollcall/registry/zkreg"
	"github.com/go-zookeeper/zk"
)

const inFlight = 256 // requests, as ours has

func BenchmarkZooKeeper(b *testing.B) {
	regbench.Run(b, regbench.Subject{Batch: 100, InFlight: inFlight, Place: func(b *testing.B, root string) regbench.Place {
		z := testserver.SharedZooKeeper(b)
		admin := z.Admin(b)
		b.Cleanup(func() { admin.Delete(b, root) })
		opts := func(m *regbench.Meter) *zkreg.Options { return &zkreg.Options{Root: root, Dial: dial(m)} }
		return regbench.Place{
			Backend: func(m *regbench.Meter) registry.Backend { return zkreg.New([]string{z.Addr()}, opts(m)) },
			Connect: func(m *regbench.Meter, service string) (regbench.Client, error) {
				admin.Set(b, root+"/"+service, nil)
				return connect(m, z.Addr(), root, service)
			},
		}
	}})
}

// A rawClient is the client library by itself.
type rawClient struct {
	*zk.Conn
	root, parent string
	news         chan zk.Event
}

func connect(m *regbench.Meter, addr, root, service string) (regbench.Client, error) {
	c := &rawClient{root: root, parent: root + "/" + service, news: make(chan zk.Event, 100)}
	dialer := func(network, addr string, _ time.Duration) (net.Conn, error) {
		return dial(m)(context.Background(), network, addr)
	}
	var err error
	c.Conn, _, err = zk.Connect([]string{addr}, 4*time.Second, zk.WithLogger(log.New(io.Discard, "", 0)), zk.WithDialer(dialer), zk.WithEventCallback(c.event))
	if err == nil {
		_, _, err = c.Exists(root) // when that is answered there is a session
	}
	return c, err
}

func (c *rawClient) path(id string) string { return c.parent + "/" + id }

func (c *rawClient) Write(recs []registry.Record, there bool) error {
	ops := make([]any, len(recs))
	for i, rec := range recs {
		ops[i] = &zk.CreateRequest{Path: c.path(rec.ID), Data: rec.Value, Acl: zk.WorldACL(zk.PermAll), Flags: zk.FlagEphemeral}
		if there {
			ops[i] = &zk.SetDataRequest{Path: c.path(rec.ID), Data: rec.Value, Version: -1}
		}
	}
	_, err := c.Multi(ops...)
	return err
}

func (c *rawClient) Create(rec registry.Record) error {
	_, err := c.Conn.Create(c.path(rec.ID), rec.Value, zk.FlagEphemeral, zk.WorldACL(zk.PermAll))
	return err
}

func (c *rawClient) Update(rec registry.Record) error {
	_, err := c.Set(c.path(rec.ID), rec.Value, -1)
	return err
}

func (c *rawClient) Delete(id string) error { return c.Conn.Delete(c.path(id), -1) }

// event is told of each watch that fires.
func (c *rawClient) event(ev zk.Event) {
	if ev.Type == zk.EventNodeChildrenChanged || ev.Type == zk.EventNodeDataChanged {
		c.news <- ev
	}
}

func (c *rawClient) Watch() error {
	_, _, _, err := c.ChildrenW(c.parent)
	if err == nil {
		_, err = c.each(c.parent, func(path string) error { _, _, _, err := c.GetW(path); return err })
	}
	return err
}

// Await reads again what has fired: the names, and the one node.
func (c *rawClient) Await(ctx context.Context, rec registry.Record) error {
	for {
		select {
		case ev := <-c.news:
			if ev.Type == zk.EventNodeChildrenChanged {
				names, _, _, err := c.ChildrenW(c.parent)
				if err != nil || rec.Value == nil && !slices.Contains(names, rec.ID) {
					return err
				}
			}
			if value, _, _, err := c.GetW(c.path(rec.ID)); err == nil && bytes.Equal(value, rec.Value) {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// each reads the children of parent, as many at a time as ours.
func (c *rawClient) each(parent string, read func(path string) error) (int, error) {
	names, _, err := c.Children(parent)
	if err == nil {
		err = regbench.Parallel(len(names), inFlight, func(i int) error { return read(parent + "/" + names[i]) })
	}
	return len(names), err
}

func (c *rawClient) List() (int, error) {
	return c.each(c.parent, func(path string) error { _, _, err := c.Get(path); return err })
}

func (c *rawClient) Services() (int, error) {
	return c.each(c.root, func(path string) error { _, _, err := c.Exists(path); return err })
}

// dial counts what is sent: the client library writes one request at a time, with
// a number that is -2 for a ping.
func dial(m *regbench.Meter) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return m.Dialer(func(p []byte) {
		if int32(binary.BigEndian.Uint32(p[4:])) == -2 {
			m.Ping()
		} else {
			m.Request()
		}
	})
}
