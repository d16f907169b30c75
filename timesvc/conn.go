package timesvc

import (
	"io"
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

	// timeFormat is RFC 3339 with all nine digits of the nanoseconds.
	timeFormat = "2006-01-02T15:04:05.000000000Z07:00"
)

// daytime answers connections until a is closed or fails for good, which is the error.
// It adds its goroutines to wg.
func (s *Server) daytime(a *acceptor, addr string, wg *sync.WaitGroup) error {
	for {
		c, err := a.accept()
		if err != nil {
			return err
		}
		wg.Go(func() {
			defer c.Close()
			s.answer(c, addr)
		})
	}
}

// answer tells the time and sees to it that it arrives. An error is the
// client's: it is gone, or does not read.
func (s *Server) answer(c *conn, addr string) {
	c.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := io.WriteString(c, now(addr)); err != nil {
		return
	}
	if c.CloseWrite() != nil {
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

// now is the answer of the server at addr.
func now(addr string) string { return addr + ": " + time.Now().UTC().Format(timeFormat) + "\n" }
