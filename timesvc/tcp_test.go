package timesvc_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/memreg"
	"github.com/go-rollcall/registry/timesvc"
)

// serveTCP starts a server on a real socket, and returns its address once it is
// announced.
func serveTCP(t *testing.T, maxConns int) string {
	reg := registry.New(memreg.NewStore().Conn(), nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &timesvc.Server{Registry: reg, Service: service, Drain: -1, MaxConns: maxConns, Logger: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		reg.Close()
	})
	for snap, err := range reg.Watch(t.Context(), service) {
		if err != nil {
			t.Fatal(err)
		}
		if len(snap.Instances) > 0 {
			break
		}
	}
	return l.Addr().String()
}

func dialTCP(t *testing.T, addr string) *net.TCPConn {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// A server that closes with something unread resets the connection. The clients
// here make that as likely as they can: what they send is there before they read.
func TestNoClientSeesAReset(t *testing.T) {
	for name, sent := range map[string][]byte{
		"nothing":          nil,
		"an older request": []byte("timestamp"),
		"exactly 4 KiB":    bytes.Repeat([]byte("x"), 4<<10),
		"more than 4 KiB":  bytes.Repeat([]byte("x"), 64<<10),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := serveTCP(t, 0)
			var wg sync.WaitGroup
			for range 50 {
				c := dialTCP(t, addr)
				wg.Go(func() {
					defer c.Close()
					if _, err := c.Write(sent); err != nil {
						t.Errorf("sending: %v", err)
					}
					if b, err := io.ReadAll(c); err != nil || !bytes.HasSuffix(b, []byte("\n")) {
						t.Errorf("answer %q, error %v", b, err)
					}
					// The answer is whole and the client is still welcome to
					// send: the server is there to read it away.
					if len(sent) <= 4<<10 {
						if _, err := c.Write([]byte("late")); err != nil {
							t.Errorf("sending after the answer: %v", err)
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestLimitOnSockets(t *testing.T) {
	t.Parallel()
	addr := serveTCP(t, 1)
	dialTCP(t, addr) // neither reads nor sends nor closes
	if b, err := io.ReadAll(dialTCP(t, addr)); err != nil || len(b) == 0 {
		t.Errorf("answer %q, error %v, behind a client that does nothing", b, err)
	}
}

func TestClientOverTCP(t *testing.T) {
	addr := serveTCP(t, 0)
	store := memreg.NewStore()
	store.Plant(service, addr, nil)
	reg := registry.New(store.Conn(), nil)
	defer reg.Close()
	c := timesvc.NewClient(reg, service, nil)
	defer c.Close()
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for range 20 {
				if a, err := c.Get(t.Context()); err != nil || a.Addr != addr {
					t.Errorf("%+v, %v", a, err)
				}
			}
		})
	}
	wg.Wait()
}
