package zkreg

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"time"
)

const (
	minPause = 50 * time.Millisecond
	maxPause = time.Second
)

// patience bounds the wait for a server to take a connection, and to grant a
// session: one that does neither must not hold up the next until the session has
// run out.
func (c *conn) patience() time.Duration {
	return min(max(c.timeout/4, 100*time.Millisecond), 2*time.Second)
}

// dial is the client library's way to a server, and sets its pace: at once after
// a break, then slower with each round of servers that has failed, and never
// together with the clients that lost them at the same time.
func (c *conn) dial(network, addr string, timeout time.Duration) (net.Conn, error) {
	c.mu.Lock()
	rounds := c.streak / len(c.b.servers)
	last := c.link
	c.mu.Unlock()
	if last != nil {
		_ = last.Close() // the client library does not, after an expiry
	}
	if rounds > 0 {
		// Never so long that a session runs out over it.
		d := min(minPause<<min(rounds-1, 10), max(minPause, min(maxPause, c.timeout/8)))
		t := time.NewTimer(d/2 + rand.N(d/2))
		defer t.Stop()
		select {
		case <-t.C:
		case <-c.ctx.Done():
		}
	}
	if c.over() {
		return nil, errClosed
	}
	ctx, cancel := context.WithTimeout(c.ctx, min(timeout, c.patience()))
	defer cancel()
	nc, err := c.b.opts.Dial(ctx, network, addr)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = &net.OpError{Op: "dial", Net: network, Err: errors.New(addr + " does not answer")}
		}
		c.failed(err)
		return nil, err
	}
	l := newLink(nc, c.patience(), &c.zxid, last)
	c.change(func() { c.link = l })
	if c.over() {
		_ = l.Close() // close may not have seen it
	}
	return l, nil
}

// over reports whether no more connections are wanted.
func (c *conn) over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.expired || c.ctx.Err() != nil
}

// hosts hands out the servers in turn. Unlike the client library's own it leaves
// names to the dialer, so that one that does not resolve costs one server, and a
// change of address is noticed. The pause of a second that the library makes when
// told that all have failed is longer than some sessions; told so when the
// connection is over, it ends.
type hosts struct {
	servers []string
	next    int
	over    func() bool
}

func (h *hosts) Init(servers []string) error { h.servers = servers; return nil }
func (h *hosts) Len() int                    { return len(h.servers) }
func (h *hosts) Connected()                  {}

func (h *hosts) Next() (server string, allFailed bool) {
	server = h.servers[h.next%len(h.servers)]
	h.next++
	return server, h.over()
}
