package timesvc

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

const (
	// writeTimeout bounds the sending of the answer. A client's receive buffer
	// takes it at once, so whoever is slower does not read at all.
	writeTimeout = time.Second

	// lingerTimeout and lingerBytes bound what is read of a client that has its
	// answer. Closing a connection while there is something unread in it resets
	// it, and a reset can take the answer away from the client again.
	lingerTimeout = time.Second
	lingerBytes   = 4 << 10

	maxAcceptPause = time.Second

	// timeFormat is RFC 3339 with all nine digits of the nanoseconds.
	timeFormat = "2006-01-02T15:04:05.000000000Z07:00"
)

// accept answers connections until l is closed or fails for good, which is the
// error. It adds its goroutines to wg.
func (s *Server) accept(l net.Listener, addr string, wg *sync.WaitGroup, log *slog.Logger) error {
	limit := s.MaxConns
	if limit <= 0 {
		limit = defaultMaxConns
	}
	slots := make(chan struct{}, limit)
	var pause time.Duration
	for {
		// A slot first: connections that find none stay in the listen queue,
		// where they cost this process nothing. One is free within 2 s.
		slots <- struct{}{}
		c, err := l.Accept()
		if err != nil {
			<-slots
			if !passing(err) {
				return fmt.Errorf("timesvc: the listener on %s has failed: %w", l.Addr(), err)
			}
			if pause == 0 {
				log.Warn("time server cannot accept connections: trying again", "err", err)
			}
			pause = min(max(2*pause, 5*time.Millisecond), maxAcceptPause)
			s.pause(pause)
			continue
		}
		if pause > 0 {
			log.Info("time server accepts connections again")
			pause = 0
		}
		wg.Go(func() {
			defer func() { <-slots }()
			if s.open(c) {
				defer s.forget(c)
				s.answer(c, addr)
			}
			c.Close()
		})
	}
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

// answer tells the time and sees to it that it arrives. An error is the
// client's: it is gone, or does not read.
func (s *Server) answer(c net.Conn, addr string) {
	now := time.Now()
	c.SetWriteDeadline(now.Add(writeTimeout))
	if _, err := fmt.Fprintf(c, "%s: %s\n", addr, now.UTC().Format(timeFormat)); err != nil {
		return
	}
	half, ok := c.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return // the client would wait for the end of the answer meanwhile
	}
	until := time.Now().Add(lingerTimeout)
	c.SetReadDeadline(until)
	if _, err := io.CopyN(io.Discard, c, lingerBytes); err == nil {
		// There may be more, so that closing resets the connection: the client
		// has the rest of the time to fetch its answer before that.
		s.pause(time.Until(until))
	}
}
