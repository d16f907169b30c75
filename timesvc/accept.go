package timesvc

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

const maxAcceptPause = time.Second

// An acceptor is the server's listener as its protocols see it: one that keeps to
// MaxConns, survives what passes, and makes known to Close what it has accepted.
type acceptor struct {
	net.Listener
	s     *Server
	log   *slog.Logger
	slots chan struct{}
}

func (s *Server) acceptor(l net.Listener, log *slog.Logger) *acceptor {
	return &acceptor{l, s, log, make(chan struct{}, cmp.Or(max(s.MaxConns, 0), defaultMaxConns))}
}

// Accept is called by one goroutine at a time.
func (a *acceptor) Accept() (net.Conn, error) {
	c, err := a.accept()
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (a *acceptor) accept() (*conn, error) {
	// A slot first: connections that find none stay in the listen queue, where
	// they cost this process nothing.
	a.slots <- struct{}{}
	var pause time.Duration
	for {
		c, err := a.Listener.Accept()
		switch {
		case err == nil && pause > 0:
			a.log.Info("time server accepts connections again")
		case err == nil:
		case !passing(err):
			<-a.slots
			return nil, fmt.Errorf("timesvc: the listener on %s has failed: %w", a.Addr(), err)
		default:
			if pause == 0 {
				a.log.Warn("time server cannot accept connections: trying again", "err", err)
			}
			pause = min(max(2*pause, 5*time.Millisecond), maxAcceptPause)
			a.s.pause(pause)
			continue
		}
		if !a.s.open(c) {
			c.Close()
			<-a.slots
			return nil, ErrServerClosed
		}
		return &conn{Conn: c, a: a}, nil
	}
}

// A conn gives its slot back when it is closed.
type conn struct {
	net.Conn
	a    *acceptor
	once sync.Once
}

func (c *conn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		c.a.s.forget(c.Conn)
		<-c.a.slots
	})
	return err
}

// CloseWrite is for protocols to end what they send before they stop to read: closing
// with something unread in it would reset the connection.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// passing reports whether accepting may work again: the process or the system
// has run out of descriptors, or the client was gone before it was accepted.
func passing(err error) bool {
	var t interface{ Temporary() bool }
	return !errors.Is(err, net.ErrClosed) && errors.As(err, &t) && t.Temporary()
}

func (s *Server) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.closed:
	}
}

// open makes c known to Close, and reports false if that was called.
func (s *Server) open(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosed() {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *Server) forget(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}
