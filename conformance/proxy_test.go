package conformance_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-rollcall/registry/conformance"
)

// patience bounds what has to happen; nothing is proved by waiting for it.
const patience = 10 * time.Second

func TestProxyForwardsBothWays(t *testing.T) {
	p, _ := proxied(t)
	c := connect(t, p)
	for i := range 1000 {
		c.roundTrip("hello")
		if got, want := p.Bytes(), 2*len("hello")*(i+1); got != want {
			t.Fatalf("after %d round trips Bytes is %d, want %d", i+1, got, want)
		}
	}
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	go c.Write(big)
	got := make([]byte, len(big))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, big) {
		t.Errorf("1 MiB came back changed, or not at all: %v", err)
	}
}

func TestProxyHandsOnTheEndOfOneDirection(t *testing.T) {
	p, srv := proxied(t)
	c := connect(t, p)
	c.send("last words")
	c.CloseWrite()
	if got, err := io.ReadAll(c); err != nil || string(got) != "last words" {
		t.Errorf("read %q, %v", got, err)
	}
	srv.next(t).expect(t, "last words")
}

func TestProxyCut(t *testing.T) {
	p, _ := proxied(t)
	addr, c := p.Addr(), connect(t, p)
	c.roundTrip("a")
	p.Cut()
	p.Cut() // again: no harm
	c.expectBroken()
	expectRefused(t, p)
	if n := len(p.Greetings()); n != 0 {
		t.Errorf("%d greetings of broken connections", n)
	}
	p.Heal()
	p.Heal()
	if p.Addr() != addr {
		t.Errorf("the address is now %s, and was %s", p.Addr(), addr)
	}
	connect(t, p).roundTrip("b")
}

func TestProxyGreetings(t *testing.T) {
	p, srv := proxied(t)
	if got := p.Greetings(); len(got) != 0 {
		t.Errorf("greetings of nobody: %q", got)
	}
	first, silent, second := connect(t, p), connect(t, p), connect(t, p)
	first.roundTrip("abc")
	s := srv.next(t)
	first.roundTrip("def")
	long := bytes.Repeat([]byte("x"), 100)
	second.roundTrip(string(long))
	want := [][]byte{[]byte("abcdef"), long[:64]}
	if got := p.Greetings(); len(got) != 2 || !bytes.Equal(got[0], want[0]) || !bytes.Equal(got[1], want[1]) {
		t.Errorf("got %q, want %q", got, want)
	}
	s.conn.CloseWrite() // the client holds its side open
	waitFor(t, "the first to be forgotten", func() bool { return len(p.Greetings()) == 1 })
	silent.roundTrip("s")
}

// Every combination ends at once when its test does, and leaves nothing.
func TestProxyClosesInEveryState(t *testing.T) {
	states := map[string]func(p *conformance.Proxy){
		"open":          func(*conformance.Proxy) {},
		"cut":           (*conformance.Proxy).Cut,
		"frozen":        (*conformance.Proxy).Freeze,
		"dropping":      (*conformance.Proxy).DropReply,
		"cut, frozen":   func(p *conformance.Proxy) { p.Cut(); p.Freeze() },
		"frozen, lossy": func(p *conformance.Proxy) { p.DropReply(); p.Freeze() },
	}
	for name, enter := range states {
		t.Run(name, func(t *testing.T) {
			var c *client
			broken := false
			t.Run("held", func(t *testing.T) {
				p, _ := proxied(t)
				c = dialProxy(t, p)
				c.roundTrip("1")
				enter(p)
				_, err := c.Write([]byte("2"))
				broken = err != nil // and the connection has told so
				if late, err := net.Dial("tcp", p.Addr()); err == nil {
					late.Write([]byte("3"))
					late.Close()
				}
			})
			c.t = t
			if _, err := io.ReadAll(c); err == nil && !broken {
				t.Error("the connection ended in order; want a broken one")
			}
			c.Close()
		})
	}
}

func TestProxyBreaksTheClientOfAServerThatIsGone(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	p := conformance.NewProxy(t, l.Addr().String())
	expectRefused(t, p)
	p.Freeze()
	c := connect(t, p)
	c.expectSilence("x") // not refused while frozen
	p.Heal()
	c.expectBroken()
}

func TestProxyBearsChangesFromEverywhere(t *testing.T) {
	p, _ := proxied(t)
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			for range 200 {
				c, err := net.Dial("tcp", p.Addr())
				if err != nil {
					continue // the proxy was cut
				}
				c.SetDeadline(time.Now().Add(patience))
				c.Write([]byte("x"))
				c.SetReadDeadline(time.Now().Add(time.Millisecond))
				c.Read(make([]byte, 1))
				c.Close()
			}
		})
	}
	for _, change := range []func(){p.Cut, p.Freeze, p.DropReply, p.Heal, func() { p.Bytes(); p.Greetings() }} {
		running.Go(func() {
			for range 200 {
				change()
			}
		})
	}
	running.Wait()
	p.Heal()
	connect(t, p).roundTrip("it still works")
}

func BenchmarkProxyRoundTrip(b *testing.B) {
	for _, through := range []string{"direct", "proxy"} {
		b.Run(through, func(b *testing.B) {
			srv := newEcho(b)
			addr := srv.l.Addr().String()
			if through == "proxy" {
				addr = conformance.NewProxy(b, addr).Addr()
			}
			c, err := net.Dial("tcp", addr)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			b.ReportAllocs()
			buf := make([]byte, 100)
			for b.Loop() {
				c.Write(buf)
				if _, err := io.ReadFull(c, buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// client is a connection through the proxy whose failures end the test.
type client struct {
	t *testing.T
	*net.TCPConn
}

func connect(t *testing.T, p *conformance.Proxy) *client {
	t.Helper()
	c := dialProxy(t, p)
	t.Cleanup(func() { c.Close() })
	return c
}

func dialProxy(t *testing.T, p *conformance.Proxy) *client {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	return &client{t, c.(*net.TCPConn)}
}

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		c.t.Fatalf("sending %q: %v", s, err)
	}
}

func (c *client) expect(s string) {
	c.t.Helper()
	got := make([]byte, len(s))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != s {
		c.t.Fatalf("got %q, %v; want %q", got[:n], err, s)
	}
}

func (c *client) roundTrip(s string) {
	c.t.Helper()
	c.send(s)
	c.expect(s)
}

// expectSilence sends s again and again for a moment, in which nothing may come
// back and nothing may break.
func (c *client) expectSilence(s string) {
	c.t.Helper()
	for range 5 {
		c.send(s)
		time.Sleep(time.Millisecond)
	}
	c.SetReadDeadline(time.Now().Add(time.Millisecond)) // not earlier: what is past is not read
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("read %d bytes, %v; want silence", n, err)
	}
	c.SetReadDeadline(time.Now().Add(patience))
}

// expectRefused wants a new connection to be broken, which the dial may notice.
func expectRefused(t *testing.T, p *conformance.Proxy) {
	t.Helper()
	if c, err := net.Dial("tcp", p.Addr()); err == nil {
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		(&client{t, c.(*net.TCPConn)}).expectBroken()
	}
}

// expectBroken wants the connection to be reset, with nothing more to read.
func (c *client) expectBroken() {
	c.t.Helper()
	n, err := c.Read(make([]byte, 1))
	if n != 0 || !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		c.t.Fatalf("read %d bytes, %v; want a broken connection", n, err)
	}
}

// waitFor is for what no event tells of.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}
