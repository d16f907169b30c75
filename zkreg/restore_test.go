package zkreg_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/internal/testserver"
	"github.com/go-rollcall/registry/zkreg"
)

// A switchboard connects to one server, until it is told of another.
type switchboard struct {
	mu    sync.Mutex
	addr  string
	conns []net.Conn
}

func (s *switchboard) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := new(net.Dialer).DialContext(ctx, network, s.addr)
	if err == nil {
		s.conns = append(s.conns, c)
	}
	return c, err
}

func (s *switchboard) to(addr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addr = addr
	for _, c := range s.conns {
		c.Close()
	}
}

// TestServerWithoutMemory replaces the server by one that knows nothing: it ends
// the connections of clients that have seen more, without a word.
func TestServerWithoutMemory(t *testing.T) {
	first := testserver.SharedZooKeeper(t)
	second, err := testserver.StartZooKeeper()
	if err != nil {
		t.Fatal(err)
	}
	defer second.Stop()
	board := &switchboard{addr: first.Addr()}
	client := func() registry.Registry {
		b := zkreg.New([]string{first.Addr()}, &zkreg.Options{Root: "/" + t.Name(), Dial: board.dial})
		r := registry.New(b, &registry.Options{TTL: 2 * time.Second})
		t.Cleanup(func() { r.Close() })
		return r
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	owner, reader := client(), client()
	for range 50 { // so that the first has seen more than the second
		if _, err := owner.Register(ctx, registry.Instance{Service: "s", Addr: "h:1"}); err != nil {
			t.Fatal(err)
		}
	}
	moved, lost := false, false
	for s, err := range reader.Watch(ctx, "s") {
		if err != nil {
			t.Fatalf("the watch did not come back: %v", err)
		}
		if len(s.Instances) != 1 {
			t.Errorf("a watcher saw %d instances", len(s.Instances))
		}
		lost = lost || s.Err != nil
		switch {
		case !moved:
			moved = true
			board.to(second.Addr())
		case lost && s.Err == nil:
			if list, err := reader.Lookup(ctx, "s"); err != nil || len(list) != 1 {
				t.Errorf("on the second server: %v, %v", list, err)
			}
			return
		}
	}
}
