package herd_test

import (
	"context"
	"net"
	"sync"
	"syscall"
)

// A gate is the way of the herd to its server, which can be shut.
type gate struct {
	tally *tally

	mu    sync.Mutex
	shut  bool
	conns map[net.Conn]struct{}
}

// dial returns a dialer. What it makes calls wrote, unless it is nil, at each Write.
func (g *gate) dial(wrote func(p []byte)) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		refused := &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
		if g.isShut() {
			return nil, refused
		}
		nc, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.shut {
			nc.Close()
			return nil, refused
		}
		g.tally.add(conns)
		c := &gated{nc, g, wrote}
		g.conns[nc] = struct{}{}
		return c, nil
	}
}

func (g *gate) isShut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut
}

// close breaks all connections, and lets none be made.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
	for c := range g.conns {
		c.Close()
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = false
}

type gated struct {
	net.Conn
	g     *gate
	wrote func(p []byte)
}

func (c *gated) Write(p []byte) (int, error) {
	if c.wrote != nil {
		c.wrote(p)
	}
	return c.Conn.Write(p)
}

func (c *gated) Close() error {
	c.g.mu.Lock()
	delete(c.g.conns, c.Conn)
	c.g.mu.Unlock()
	return c.Conn.Close()
}
