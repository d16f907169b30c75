//go:build unix

package conformance

import (
	"io"
	"net"
	"syscall"
)

// readNow reads what c has received, without waiting for more: more is false
// if there was nothing.
func readNow(c *net.TCPConn, b []byte) (n int, more bool, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, false, err
	}
	var readErr error
	err = raw.Read(func(fd uintptr) bool {
		for {
			n, readErr = syscall.Read(int(fd), b)
			if readErr != syscall.EINTR {
				return true
			}
		}
	})
	switch {
	case err != nil:
		return 0, false, err
	case readErr == syscall.EAGAIN:
		return 0, false, nil
	case readErr != nil:
		return 0, false, readErr
	case n == 0:
		return 0, false, io.EOF
	}
	return n, true, nil
}
