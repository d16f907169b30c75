package zkreg_test

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/internal/testserver"
	"github.com/go-rollcall/registry/zkreg"
	"github.com/go-zookeeper/zk"
)

// A watchCounter counts the requests that read the data of a node and watch it.
type watchCounter struct {
	net.Conn
	watches *atomic.Int64
}

func (c watchCounter) Write(p []byte) (int, error) {
	const opGetData = 4
	if len(p) > 16 && binary.BigEndian.Uint32(p[8:]) == opGetData && p[len(p)-1] == 1 {
		c.watches.Add(1)
	}
	return c.Conn.Write(p)
}

// firstSet takes what a Watch brings.
type firstSet chan int

func (s firstSet) Reset(recs []registry.Record, _ string)  { s <- len(recs) }
func (firstSet) Apply([]registry.Record, []string, string) {}

// TestNodeThatMayNotBeRead: however often a service is tried with a node that may not be
// read, its watches are not set again, as the client library keeps them all. Once it may
// be read, they are, all of them: the server has told nothing of it meanwhile.
func TestNodeThatMayNotBeRead(t *testing.T) {
	t.Parallel()
	z := testserver.SharedZooKeeper(t)
	root := "/" + t.Name() + rand.Text() // the server outlives the test
	raw, _, err := zk.Connect([]string{z.Addr()}, 10*time.Second, zk.WithLogInfo(false))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	const n = 10
	paths := []string{root, root + "/s"}
	for i := range n {
		paths = append(paths, fmt.Sprintf("%s/s/10.0.0.%d:1", root, i))
	}
	for _, p := range paths {
		if _, err := raw.Create(p, nil, 0, zk.WorldACL(zk.PermAll)); err != nil {
			t.Fatal(err)
		}
	}
	hidden := paths[len(paths)-1]
	admin := zk.WorldACL(zk.PermAdmin)
	if _, err := raw.SetACL(hidden, admin, -1); err != nil {
		t.Fatal(err)
	}

	var watches atomic.Int64
	b := zkreg.New([]string{z.Addr()}, &zkreg.Options{Root: root, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		return watchCounter{c, &watches}, err
	}})
	defer b.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	sets := make(firstSet, 1)
	for range 20 {
		if err := b.Watch(ctx, "s", sets); !errors.Is(err, registry.ErrDenied) {
			t.Fatalf("Watch: %v, want ErrDenied", err)
		}
	}
	if w := watches.Load(); w > n {
		t.Errorf("20 tries have set %d watches on %d nodes", w, n)
	}

	if _, err := raw.SetACL(hidden, zk.WorldACL(zk.PermAll), -1); err != nil {
		t.Fatal(err)
	}
	before := watches.Load()
	ended := make(chan error, 1)
	watching, end := context.WithCancel(ctx)
	go func() { ended <- b.Watch(watching, "s", sets) }()
	select {
	case got := <-sets:
		if w := watches.Load() - before; got != n || w != n {
			t.Errorf("all may be read again: a set of %d, and %d watches; want %d", got, w, n)
		}
	case err := <-ended:
		t.Fatalf("Watch: %v", err)
	}
	end()
	<-ended
}
