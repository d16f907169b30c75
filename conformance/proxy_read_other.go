//go:build !unix

package conformance

import (
	"errors"
	"net"
	"os"
	"time"
)

// readNow reads what c has received, without waiting for more: more is false
// if there was nothing. Here it takes a short wait to know that.
func readNow(c *net.TCPConn, b []byte) (n int, more bool, err error) {
	c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	defer c.SetReadDeadline(time.Time{})
	n, err = c.Read(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return n, false, nil
	}
	return n, err == nil, err
}
