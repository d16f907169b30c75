package conformance_test

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/go-rollcall/registry/conformance"
)

// echo is a server that sends back what it gets.
type echo struct {
	l     net.Listener
	conns chan *serverConn // in the order in which they first sent something
}

type serverConn struct {
	conn    *net.TCPConn
	mu      sync.Mutex
	changed *sync.Cond
	data    []byte
	ended   bool
}

func proxied(t *testing.T) (*conformance.Proxy, *echo) {
	t.Helper()
	srv := newEcho(t)
	return conformance.NewProxy(t, srv.l.Addr().String()), srv
}

func newEcho(t testing.TB) *echo {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &echo{l: l, conns: make(chan *serverConn, 10_000)}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s := &serverConn{conn: c.(*net.TCPConn)}
			s.changed = sync.NewCond(&s.mu)
			running.Go(func() { s.serve(srv) })
		}
	})
	t.Cleanup(func() { // after the proxy's, which has broken every connection
		l.Close()
		running.Wait()
	})
	return srv
}

func (s *serverConn) serve(srv *echo) {
	defer s.conn.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := s.conn.Read(buf)
		s.mu.Lock()
		if len(s.data) == 0 && n > 0 {
			srv.conns <- s
		}
		s.data = append(s.data, buf[:n]...)
		s.ended = err != nil
		s.changed.Broadcast()
		s.mu.Unlock()
		if err != nil {
			return
		}
		s.conn.Write(buf[:n])
	}
}

func (srv *echo) next(t *testing.T) *serverConn {
	t.Helper()
	select {
	case s := <-srv.conns:
		return s
	case <-time.After(patience):
		t.Fatal("no connection reached the server")
		return nil
	}
}

func (s *serverConn) push(data string) { io.WriteString(s.conn, data) }

func (s *serverConn) got() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.data)
}

// expect waits until the server has received all of data and nothing else.
func (s *serverConn) expect(t *testing.T, data string) {
	t.Helper()
	if got := s.wait(t, func() bool { return len(s.data) >= len(data) }); got != data {
		t.Fatalf("the server got %q, want %q", got, data)
	}
}

// all returns what the server received until the connection ended.
func (s *serverConn) all(t *testing.T) string {
	t.Helper()
	return s.wait(t, func() bool { return s.ended })
}

func (s *serverConn) wait(t *testing.T, enough func() bool) string {
	t.Helper()
	late := false
	defer time.AfterFunc(patience, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		late = true
		s.changed.Broadcast()
	}).Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for !enough() {
		if late {
			t.Fatalf("the server has got %q so far", s.data)
		}
		s.changed.Wait()
	}
	return string(s.data)
}
