package zkreg

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"
)

// handshakeTimeout bounds the wait for a server to grant a session: one that
// accepts connections and does nothing must not hold up the next.
const handshakeTimeout = 2 * time.Second

// A link is a TCP connection to a server, with an eye on what comes over it.
type link struct {
	net.Conn
	head [12]byte // of the server's first packet: its length, a version, the session timeout
	have atomic.Int32
	last atomic.Int64 // when something came: nanoseconds since epoch
}

// epoch makes times comparable by the monotonic clock.
var epoch = time.Now()

func (l *link) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if n > 0 {
		l.last.Store(int64(time.Since(epoch)))
		if have := l.have.Load(); int(have) < len(l.head) {
			l.have.Store(have + int32(copy(l.head[have:], p[:n])))
		}
	}
	return n, err
}

// SetReadDeadline shortens what the client library allows for the handshake,
// which is nearly seven session timeouts.
func (l *link) SetReadDeadline(t time.Time) error {
	if int(l.have.Load()) < len(l.head) {
		if most := time.Now().Add(handshakeTimeout); t.IsZero() || t.After(most) {
			t = most
		}
	}
	return l.Conn.SetReadDeadline(t)
}

// granted is the session timeout in the server's first packet.
func (l *link) granted() time.Duration {
	return time.Duration(binary.BigEndian.Uint32(l.head[8:])) * time.Millisecond
}

// heard reports whether anything has come since t.
func (l *link) heard(t time.Time) bool { return l.last.Load() >= int64(t.Sub(epoch)) }

// silent reports whether the link must be taken for dead: a tenth of a second is
// no time for a server to be silent, whatever the caller's deadline was.
func (l *link) silent(since time.Time) bool {
	return !l.heard(since) && time.Since(since) >= 100*time.Millisecond
}

// dial is the client library's way to a server. It keeps clients that have lost
// their servers together from coming back together.
func (c *conn) dial(network, addr string, timeout time.Duration) (net.Conn, error) {
	c.mu.Lock()
	over := c.expired
	again := c.streak >= len(c.b.servers) || time.Since(c.dialled) < 100*time.Millisecond
	c.mu.Unlock()
	if over || c.ctx.Err() != nil {
		return nil, errClosed
	}
	if again {
		t := time.NewTimer(rand.N(200 * time.Millisecond))
		defer t.Stop()
		select {
		case <-t.C:
		case <-c.ctx.Done():
			return nil, errClosed
		}
	}
	ctx, cancel := context.WithTimeout(c.ctx, timeout)
	defer cancel()
	nc, err := c.b.opts.Dial(ctx, network, addr)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = &net.OpError{Op: "dial", Net: network, Err: errors.New(addr + " does not answer")}
		}
		c.failed(err)
		return nil, err
	}
	l := &link{Conn: nc}
	c.change(func() { c.link, c.dialled = l, time.Now() })
	return l, nil
}

// hosts hands out the servers in turn. Unlike the client library's own it leaves
// names to the dialer, so that one that does not resolve costs one server, and a
// change of address is noticed; and it pauses only when all servers have failed,
// not before the only one is tried again.
type hosts struct {
	servers []string
	next    int
	failed  int // servers handed out since the last success
}

func (h *hosts) Init(servers []string) error { h.servers = servers; return nil }
func (h *hosts) Len() int                    { return len(h.servers) }
func (h *hosts) Connected()                  { h.failed = 0 }

func (h *hosts) Next() (server string, pause bool) {
	server = h.servers[h.next%len(h.servers)]
	h.next++
	pause = h.failed > 0 && h.failed%len(h.servers) == 0
	h.failed++
	return server, pause
}
