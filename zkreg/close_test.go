package zkreg_test

import (
	"context"
	"encoding/binary"
	"net"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/internal/testserver"
	"github.com/go-rollcall/registry/zkreg"
)

// A slowGoodbye takes its time with the request that ends a session.
type slowGoodbye struct {
	net.Conn
	takes time.Duration
}

func (c slowGoodbye) Write(p []byte) (int, error) {
	const opClose = -11
	if len(p) >= 12 && int32(binary.BigEndian.Uint32(p[8:])) == opClose {
		time.Sleep(c.takes)
	}
	return c.Conn.Write(p)
}

// TestSlowGoodbye: Close waits for the server for as long as it has, and not for the second
// that the client library gives it.
func TestSlowGoodbye(t *testing.T) {
	t.Parallel()
	z := testserver.SharedZooKeeper(t)
	b := zkreg.New([]string{z.Addr()}, &zkreg.Options{Root: "/" + t.Name(), Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		return slowGoodbye{c, 1500 * time.Millisecond}, err
	}})
	r := registry.New(b, &registry.Options{TTL: 20 * time.Second})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := r.Register(ctx, registry.Instance{Service: "s", Addr: "10.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Errorf("Close: %v; the server confirms it after 1.5 s", err)
	}
}
