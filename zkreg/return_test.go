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
)

// TestManyReturnAtOnce has the owners of a service give up their sessions after an
// outage, as they do when a server ends their connections before it serves, while
// that server still knows the sessions: each is to have its node replaced before the
// old session runs out, however many do that at the same time.
func TestManyReturnAtOnce(t *testing.T) {
	const owners, ttl = 200, 8 * time.Second
	z := testserver.Own(t, "zk", testserver.StartPatientZooKeeper)
	var slam atomic.Bool
	open := func(dial func(ctx context.Context, network, addr string) (net.Conn, error)) registry.Registry {
		b := zkreg.New([]string{z.Addr()}, &zkreg.Options{Root: "/" + t.Name(), Dial: dial})
		r := registry.New(b, &registry.Options{TTL: ttl, Logger: slog.New(slog.DiscardHandler)})
		t.Cleanup(func() { r.Close() })
		return r
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var regs []registry.Registration
	var slammed [owners]atomic.Bool
	for i := range owners {
		r := open(func(ctx context.Context, network, addr string) (net.Conn, error) {
			if slam.Load() && !slammed[i].Swap(true) {
				ours, theirs := net.Pipe()
				theirs.Close()
				return ours, nil
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		})
		reg, err := r.Register(ctx, registry.Instance{Service: "svc", ID: fmt.Sprint(i), Addr: "127.0.0.1:8897"})
		if err != nil {
			t.Fatal(err)
		}
		regs = append(regs, reg)
	}
	news, fewer := make(chan registry.Snapshot, 1000), 0
	go func() {
		defer close(news)
		for snap, err := range open(nil).Watch(ctx, "svc") {
			if err == nil {
				news <- snap
			}
		}
	}()
	await := func(what string, ok func(registry.Snapshot) bool) {
		t.Helper()
		for snap := range news {
			fewer = max(fewer, owners-len(snap.Instances))
			if ok(snap) {
				return
			}
		}
		t.Fatalf("%s: %v", what, context.Cause(ctx))
	}
	await("all are there", func(s registry.Snapshot) bool { return len(s.Instances) == owners })
	fewer = 0

	z.Kill(t)
	await("an outage of the TTL", func(s registry.Snapshot) bool { return s.Err != nil })
	slam.Store(true)    // the sessions have run out by the owners' clocks
	begin := time.Now() // the server's clocks start later
	took := make(chan time.Duration, 1)
	go func() {
		defer close(took)
		tick := time.NewTicker(10 * time.Millisecond) // no watch tells
		defer tick.Stop()
		for _, reg := range regs {
			for reg.Err() != nil {
				select {
				case <-tick.C:
				case <-ctx.Done():
					return
				}
			}
		}
		took <- time.Since(begin)
	}()
	z.Start(t)
	back, ok := <-took
	t.Logf("all %d are back %v after the server was started, which keeps their old sessions for %v", owners, back, ttl)
	if !ok || back >= ttl {
		t.Fatalf("this has shown nothing: owners and server took so long that the old sessions may have run out before")
	}
	await("the registry is back", func(s registry.Snapshot) bool { return s.Err == nil })
	last := open(nil)
	reg, err := last.Register(ctx, registry.Instance{Service: "svc", ID: "last", Addr: "127.0.0.1:8897"})
	if err != nil {
		t.Fatal(err)
	}
	await("one more", func(s registry.Snapshot) bool { return len(s.Instances) > owners })
	for timer := time.NewTimer(ttl + time.Second); ; { // the old sessions run out
		select {
		case <-timer.C:
			if fewer > 0 {
				t.Errorf("a watch has shown %d fewer than there are", fewer)
			}
			for _, reg := range append(regs, reg) {
				if err := reg.Err(); err != nil {
					t.Error(err)
				}
			}
			return
		case snap := <-news:
			fewer = max(fewer, owners-len(snap.Instances))
		}
	}
}
