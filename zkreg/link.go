package zkreg

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/go-rollcall/registry/internal/silence"
)

// A link is a TCP connection to a server, and reads along. It keeps from the client
// library how far the servers are with their changes, each of which has a number, the
// zxid, and says itself what the library would say of it to a server. The library
// notes the zxid of every answer without a lock, while it may be reading it to set its
// watches again: that is a data race, and has the server skip what happened between
// the break and that answer.
type link struct {
	net.Conn
	r        *bufio.Reader
	patience time.Duration
	zxid     *atomic.Int64 // the newest that an answer had, over all links of the conn
	newest   int64         // the newest when the link was made
	since    int64         // what watches tell of is newer
	resets   atomic.Int32  // xid of the request that sets the last watches again; 0: none
	whole    atomic.Bool   // all watches stand
	greeted  bool          // the first packet has been written
	welcomed bool          // and answered
	granted  time.Duration // the session timeout; 0: the session is over
	why      error         // why it was not answered, where that is known
	left     int           // bytes that are to come of the packet being read
	closing  atomic.Int32  // xid of the request to end the session; 0: none
	closed   atomic.Bool   // which the server has confirmed
	line     *silence.Line
}

// newLink follows on the link before, nil for the first one. That may have broken before
// all watches were set again: then they still have to tell of what it was to tell.
func newLink(nc net.Conn, patience time.Duration, zxid *atomic.Int64, before *link) *link {
	l := &link{Conn: nc, patience: patience, zxid: zxid, newest: zxid.Load(), line: silence.Begin()}
	l.r = bufio.NewReader(arrivals{l})
	l.since = l.newest
	if before != nil && !before.whole.Load() {
		l.since = min(before.since, l.newest)
	}
	l.whole.Store(l.newest == 0) // a new session, in which none was set before
	return l
}

// arrivals is what comes over a link, as it comes.
type arrivals struct{ l *link }

func (a arrivals) Read(p []byte) (int, error) {
	n, err := a.l.Conn.Read(p)
	if n > 0 {
		a.l.line.Heard()
	}
	return n, err
}

// Read is called from one goroutine at a time.
func (l *link) Read(p []byte) (int, error) {
	if l.left == 0 {
		if err := l.next(); err != nil {
			return 0, err
		}
	}
	n, err := l.r.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}

// A packet begins with its length.
const (
	lenSize    = 4
	headerSize = 16 // of all but the first: xid, zxid, error
	minWelcome = 20 // of the first: version, session timeout, id, password, read only
	maxWelcome = 256
)

// next looks at the head of the next packet.
func (l *link) next() error {
	b, err := l.r.Peek(lenSize)
	if err != nil {
		if !l.welcomed && errors.Is(err, os.ErrDeadlineExceeded) {
			l.why = fmt.Errorf("%v does not answer", l.RemoteAddr())
		}
		return err
	}
	size := binary.BigEndian.Uint32(b)
	switch {
	case !l.welcomed:
		if size < minWelcome || size > maxWelcome {
			l.why = fmt.Errorf("%v does not speak ZooKeeper: it begins with %q", l.RemoteAddr(), b)
			return l.why
		}
		if b, err = l.r.Peek(lenSize + int(size)); err != nil {
			return err
		}
		ms, session := int32(binary.BigEndian.Uint32(b[8:])), binary.BigEndian.Uint64(b[12:])
		if session != 0 && ms <= 0 { // the client library would panic
			l.why = fmt.Errorf("%v grants a session of %d ms, which no ZooKeeper does", l.RemoteAddr(), ms)
			return l.why
		}
		l.welcomed, l.granted = true, time.Duration(ms)*time.Millisecond
	case size < headerSize || size > math.MaxInt32-lenSize: // the client library would panic
		return fmt.Errorf("%v sent a packet of %d bytes, which no ZooKeeper does", l.RemoteAddr(), size)
	default:
		if b, err = l.r.Peek(lenSize + headerSize); err != nil {
			return err
		}
		l.answer(b[lenSize:])
	}
	l.left = lenSize + int(size)
	return nil
}

// answer takes the zxid out of the header of an answer; events and pings, whose xid
// is below zero, have none that counts.
func (l *link) answer(header []byte) {
	xid, zxid := int32(binary.BigEndian.Uint32(header)), header[4:12]
	if xid < 0 {
		return
	}
	if z := int64(binary.BigEndian.Uint64(zxid)); z > 0 {
		l.zxid.Store(z)
	}
	clear(zxid)
	if xid == l.resets.Load() {
		l.whole.Store(true) // what they had to tell has come before
	}
	if xid == l.closing.Load() && binary.BigEndian.Uint32(header[12:]) == 0 {
		l.closed.Store(true)
	}
}

// Write is given one packet at a time, from one goroutine at a time.
func (l *link) Write(p []byte) (int, error) {
	const (
		opSetWatches   = 101
		opCloseSession = -11
		fullRequest    = 124 << 10 // the client library fills it up to 128 KiB, but for a path
	)
	var op int32
	if len(p) >= 12 {
		op = int32(binary.BigEndian.Uint32(p[8:]))
	}
	switch {
	case !l.greeted && len(p) >= 16: // length, version of the protocol, zxid
		l.greeted = true
		p = bytes.Clone(p)
		binary.BigEndian.PutUint64(p[8:], uint64(l.newest))
	case op == opSetWatches && len(p) >= 20: // length, xid, operation, zxid
		p = bytes.Clone(p)
		binary.BigEndian.PutUint64(p[12:], uint64(l.since))
		if len(p) < fullRequest { // no other follows
			l.resets.Store(int32(binary.BigEndian.Uint32(p[4:])))
		}
	case op == opCloseSession:
		l.closing.Store(int32(binary.BigEndian.Uint32(p[4:])))
	}
	return l.Conn.Write(p)
}

// SetReadDeadline shortens what the client library allows for the handshake,
// which is nearly seven session timeouts.
func (l *link) SetReadDeadline(t time.Time) error {
	if !l.welcomed {
		if most := time.Now().Add(l.patience); t.IsZero() || t.After(most) {
			t = most
		}
	}
	return l.Conn.SetReadDeadline(t)
}
