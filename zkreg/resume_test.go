package zkreg_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/internal/testserver"
	"github.com/go-rollcall/registry/zkreg"
)

// TestAnswersWhileWatchesAreSetAgain breaks the connection of a Backend again and again
// while it watches and is asked: under -race, the client library must not look at what
// it notes of each answer.
func TestAnswersWhileWatchesAreSetAgain(t *testing.T) {
	t.Parallel()
	const breaks, services, ttl = 20, 50, 10 * time.Second
	z := testserver.SharedZooKeeper(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var mu sync.Mutex
	var conns []net.Conn
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil {
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
		}
		return c, err
	}
	b := zkreg.New([]string{z.Addr()}, &zkreg.Options{Root: "/" + t.Name(), Dial: dial})
	r := registry.New(b, &registry.Options{TTL: ttl})
	defer r.Close()
	var clients sync.WaitGroup
	defer clients.Wait()
	defer cancel()
	shown := make(chan bool, services)
	for i := range services {
		clients.Go(func() {
			first := true
			for range r.Watch(ctx, fmt.Sprint("svc", i)) {
				if first {
					shown <- true
					first = false
				}
			}
		})
	}
	for range services {
		<-shown
	}
	answered := make(chan bool)
	for range 4 {
		clients.Go(func() {
			for ctx.Err() == nil {
				if _, err := b.Lookup(ctx, "svc0"); err != nil {
					continue
				}
				select {
				case answered <- true:
				case <-ctx.Done():
				}
			}
		})
	}
	for range breaks {
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		conns = nil
		mu.Unlock()
		for range 20 {
			select {
			case <-answered:
			case <-ctx.Done():
				t.Fatal("no answers after a break")
			}
		}
	}
}
