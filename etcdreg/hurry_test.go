package etcdreg_test

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-rollcall/registry/etcdreg"
	"github.com/go-rollcall/registry/internal/testserver"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// TestHurryWhileConnecting: calls with less time than a connection takes to be made do not
// keep it from being made, for themselves and for everybody else.
func TestHurryWhileConnecting(t *testing.T) {
	t.Parallel()
	e := testserver.SharedEtcd(t)
	const far, hurry = time.Second, 400 * time.Millisecond // until the server is heard; what a call has
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var dials atomic.Int32
	var links sync.WaitGroup
	defer links.Wait()
	defer l.Close()
	links.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			dials.Add(1)
			links.Go(func() {
				defer c.Close()
				s, err := net.Dial("tcp", e.Addr())
				if err != nil {
					return
				}
				defer s.Close()
				links.Go(func() { _, _ = io.Copy(s, c); s.Close() })
				time.Sleep(far) // of the network
				_, _ = io.Copy(c, s)
			})
		}
	})
	admin := e.Admin(t)
	root := "/" + t.Name()
	user, password := admin.User(t, root)
	config := clientv3.Config{Username: user, Password: password}
	b := etcdreg.New([]string{l.Addr().String()}, &etcdreg.Options{Root: root, Config: config})
	defer b.Close()
	for range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), hurry)
		_, err = b.Lookup(ctx, "s")
		cancel()
		if err == nil {
			break
		}
	}
	if err != nil {
		t.Errorf("20 calls of %v, over a network that takes %v to connect: the last: %v; %d connections", hurry, far, err, dials.Load())
	}
}
