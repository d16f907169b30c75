package regbench

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// A Meter counts what goes over the connections that it has dialled: bytes by
// itself, requests as it is told of them, since what a request is depends on the
// protocol. A nil Meter counts nothing.
type Meter struct {
	requests, pings, sent, received atomic.Int64
}

// Request counts a request: what the client asks, whatever it is answered.
func (m *Meter) Request() {
	if m != nil {
		m.requests.Add(1)
	}
}

// Ping counts what is sent at regular times, and asks nothing. It is no request.
func (m *Meter) Ping() {
	if m != nil {
		m.pings.Add(1)
	}
}

// Dial is as that of a net.Dialer.
func (m *Meter) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return m.Dialer(nil)(ctx, network, addr)
}

// Dialer returns a Dial that calls wrote, unless it is nil, with all that is
// written: for a protocol whose requests can be told there.
func (m *Meter) Dialer(wrote func(p []byte)) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil || m == nil {
			return c, err
		}
		return metered{c, m, wrote}, nil
	}
}

type metered struct {
	net.Conn
	m     *Meter
	wrote func(p []byte)
}

func (c metered) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.m.received.Add(int64(n))
	return n, err
}

// Write counts before it writes: the answer may be quicker than what follows.
func (c metered) Write(p []byte) (int, error) {
	c.m.sent.Add(int64(len(p)))
	if c.wrote != nil {
		c.wrote(p)
	}
	return c.Conn.Write(p)
}

// quiet returns when nothing more is asked. What a client does after it has
// written or read 10,000 records is no part of the change that follows.
func (m *Meter) quiet(ctx context.Context) {
	const quiet, most = 200 * time.Millisecond, 30 * time.Second
	for deadline := time.Now().Add(most); time.Now().Before(deadline) && ctx.Err() == nil; {
		before := m.requests.Load()
		rest(ctx, quiet)
		if m.requests.Load() == before {
			return
		}
	}
}

// rest returns after d, or when ctx ends.
func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// traffic is what a Meter has counted.
type traffic struct {
	requests, pings, sent, received int64
}

func (m *Meter) read() traffic {
	return traffic{m.requests.Load(), m.pings.Load(), m.sent.Load(), m.received.Load()}
}

func (t traffic) plus(u traffic) traffic {
	return traffic{t.requests + u.requests, t.pings + u.pings, t.sent + u.sent, t.received + u.received}
}

func (t traffic) since(u traffic) traffic {
	return traffic{t.requests - u.requests, t.pings - u.pings, t.sent - u.sent, t.received - u.received}
}

// report reports what n of a unit have cost, without pings.
func (t traffic) report(b *testing.B, prefix, unit string, n int) {
	b.ReportMetric(float64(t.requests)/float64(n), prefix+"requests/"+unit)
	b.ReportMetric(float64(t.sent)/float64(n), prefix+"sent-bytes/"+unit)
	b.ReportMetric(float64(t.received)/float64(n), prefix+"received-bytes/"+unit)
}
