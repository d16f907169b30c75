package zkreg_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/internal/testserver"
	"github.com/go-rollcall/registry/zkreg"
	"github.com/go-zookeeper/zk"
)

// TestManyReturnAtOnce has the owners of a service give up their sessions after an
// outage, as they do when a server ends their connections before it serves, while
// that server still knows the sessions. Each replaces its node, and none moves the
// parent's version, which is a condition on the writing of all others: a thousand
// would hold each other up until their old sessions run out.
func TestManyReturnAtOnce(t *testing.T) {
	const owners, ttl = 10, 4 * time.Second
	z := testserver.Own(t, "zk", testserver.StartZooKeeper)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var slam atomic.Bool
	var regs []registry.Registration
	for i := range owners {
		var slammed atomic.Bool
		dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
			if slam.Load() && !slammed.Swap(true) {
				ours, theirs := net.Pipe()
				theirs.Close()
				return ours, nil
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		}
		b := zkreg.New([]string{z.Addr()}, &zkreg.Options{Root: "/" + t.Name(), Dial: dial})
		r := registry.New(b, &registry.Options{TTL: ttl, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
		t.Cleanup(func() { r.Close() })
		reg, err := r.Register(ctx, registry.Instance{Service: "svc", ID: fmt.Sprint(i), Addr: "127.0.0.1:8897"})
		if err != nil {
			t.Fatal(err)
		}
		regs = append(regs, reg)
	}
	// state returns the parent's version, and the sessions that own its nodes.
	state := func() (version int32, sessions map[int64]bool) {
		t.Helper()
		c, _, err := zk.Connect([]string{z.Addr()}, ttl, zk.WithLogger(quiet{}))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		names, st, err := c.Children("/" + t.Name() + "/svc")
		if err != nil || len(names) != owners {
			t.Fatalf("nodes: %q, %v; want %d", names, err, owners)
		}
		sessions = map[int64]bool{}
		for _, name := range names {
			_, node, err := c.Exists("/" + t.Name() + "/svc/" + name)
			if err != nil {
				t.Fatal(err)
			}
			sessions[node.EphemeralOwner] = true
		}
		return st.Version, sessions
	}
	each := func(what string, ok func(error) bool) {
		t.Helper()
		tick := time.NewTicker(10 * time.Millisecond) // no watch tells
		defer tick.Stop()
		for _, reg := range regs {
			for !ok(reg.Err()) {
				select {
				case <-tick.C:
				case <-ctx.Done():
					t.Fatalf("%s: %v", what, reg.Err())
				}
			}
		}
	}
	version, sessions := state()
	z.Kill(t)
	away := time.NewTimer(5 * ttl / 2) // the owners give up their sessions after twice the TTL
	defer away.Stop()
	each("the sessions have run out by the owners' clocks", func(err error) bool { return err != nil })
	<-away.C
	slam.Store(true)
	z.Start(t)
	each("the owners are back", func(err error) bool { return err == nil })
	now, anew := state()
	for s := range anew {
		if sessions[s] {
			t.Errorf("session %#x was kept: this has shown nothing", s)
		}
	}
	if now != version {
		t.Errorf("the parent's version has moved from %d to %d", version, now)
	}
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}
