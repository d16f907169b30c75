package zkreg_test

import (
	"context"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/internal/testserver"
	"github.com/go-rollcall/registry/zkreg"
)

// TestLeaderThatStoodStill asks a leader, as it goes on after a pause, what has become of a
// record since: before it learns that another leads, it may say nothing, but nothing old.
// It is the case leader-stands-still with a client that knows that server alone, which
// makes sure that it is asked in time: with a Sync before the read, it fails.
func TestLeaderThatStoodStill(t *testing.T) {
	if !testserver.CanPause {
		t.Skip("nothing can be paused here")
	}
	c := testserver.SharedZooKeeperCluster(t)
	leader := c.Leader(t)
	var others []string
	for _, m := range c.Members {
		if m != leader {
			others = append(others, m.Addr())
		}
	}
	open := func(servers ...string) registry.Registry {
		r := registry.New(zkreg.New(servers, &zkreg.Options{Root: "/" + t.Name()}), nil)
		t.Cleanup(func() { r.Close() })
		return r
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	register := func(addr string) {
		t.Helper()
		if _, err := open(others...).Register(ctx, registry.Instance{Service: "s", ID: "a", Addr: addr}); err != nil {
			t.Fatal(err)
		}
	}
	register("10.0.0.1:1")
	reader := open(leader.Addr())
	if _, err := reader.Lookup(ctx, "s"); err != nil {
		t.Fatal(err)
	}

	leader.Pause(t)
	t.Cleanup(func() { c.Start(t) }) // returns when all serve
	defer leader.Continue(t)
	register("10.0.0.2:2")
	answer := make(chan string, 1)
	go func() {
		found := "nothing"
		list, err := reader.Lookup(ctx, "s")
		for _, in := range list {
			found = in.Addr
		}
		if err != nil {
			found = err.Error()
		}
		answer <- found
	}()
	leader.Continue(t)
	if got := <-answer; got == "10.0.0.1:1" {
		t.Errorf("the record was replaced, and a lookup after that finds %s", got)
	}
}
