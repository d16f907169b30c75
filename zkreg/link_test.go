package zkreg

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
)

// packet returns what parts make, each of which is an int32, an int64 or bytes.
func packet(t *testing.T, parts ...any) []byte {
	var b bytes.Buffer
	for _, p := range parts {
		if err := binary.Write(&b, binary.BigEndian, p); err != nil {
			t.Fatal(err)
		}
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(b.Len())), b.Bytes()...)
}

// ends returns a link, and the server's end of it.
func ends(t *testing.T, zxid *atomic.Int64) (*link, net.Conn) {
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	deadline := time.Now().Add(time.Minute)
	_ = ours.SetDeadline(deadline)
	_ = theirs.SetDeadline(deadline)
	return newLink(ours, time.Minute, zxid, nil), theirs
}

// pass sends b from one end, and returns what comes out of the other.
func pass(t *testing.T, from io.Writer, to io.Reader, b []byte) []byte {
	t.Helper()
	written := make(chan error, 1)
	go func() {
		_, err := from.Write(b)
		written <- err
	}()
	got := make([]byte, len(b))
	if _, err := io.ReadFull(to, got); err != nil {
		t.Fatal(err)
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	return got
}

var welcome = []any{int32(0), int32(4000), int64(7), int32(16), make([]byte, 16)}

func TestLinkKeepsZxid(t *testing.T) {
	var zxid atomic.Int64
	zxid.Store(5)
	l, server := ends(t, &zxid)
	greeting := func(zxid int64) []byte { return packet(t, int32(0), zxid, int32(4000), int64(0), make([]byte, 20)) }
	if got := pass(t, l, server, greeting(0)); !bytes.Equal(got, greeting(5)) {
		t.Errorf("greeting: %x, want the zxid of the links before", got)
	}
	if got := pass(t, server, l, packet(t, welcome...)); !bytes.Equal(got, packet(t, welcome...)) {
		t.Errorf("welcome: %x", got)
	}
	if l.granted != 4*time.Second {
		t.Errorf("granted: %v", l.granted)
	}
	answer := func(xid int32, zxid int64) []byte { return packet(t, xid, zxid, int32(-101), []byte("rest")) }
	for _, c := range []struct {
		xid              int32
		zxid, show, know int64
	}{
		{1, 9, 0, 9},
		{-1, 10, 10, 9}, // an event
		{-2, 11, 11, 9}, // a ping
		{2, 12, 0, 12},
		{3, -1, 0, 12},
	} {
		if got := pass(t, server, l, answer(c.xid, c.zxid)); !bytes.Equal(got, answer(c.xid, c.show)) {
			t.Errorf("%+v: %x", c, got)
		}
		if zxid.Load() != c.know {
			t.Errorf("%+v: zxid %d", c, zxid.Load())
		}
	}
	watches := func(zxid int64) []byte { return packet(t, int32(4), int32(101), zxid, []byte("paths")) }
	asked := watches(0)
	if got := pass(t, l, server, asked); !bytes.Equal(got, watches(5)) {
		t.Errorf("watches set again: %x, want them from the break on", got)
	}
	if !bytes.Equal(asked, watches(0)) {
		t.Error("the writer's bytes were changed")
	}
	next, server := ends(t, &zxid)
	if got := pass(t, next, server, greeting(0)); !bytes.Equal(got, greeting(12)) {
		t.Errorf("greeting of the next link: %x", got)
	}
}

// A link that breaks before all watches are set again has not heard all that they had to
// tell: the next one asks for it.
func TestLinkThatBreaksAgain(t *testing.T) {
	const part, last = 128<<10 - 300, 100 // bytes of paths in a request that others follow, and in one that none does
	for _, c := range []struct {
		name     string
		set      []int // sizes of the requests that set watches again, in order
		answered int   // of these
		since    int64 // what watches of the next link are to tell of
	}{
		{"none set", nil, 0, 5},
		{"not answered", []int{last}, 0, 5},
		{"a large one not answered", []int{120 << 10}, 0, 5},
		{"answered", []int{last}, 1, 9},
		{"some answered", []int{part, last}, 1, 5},
		{"one of some set", []int{part}, 1, 5},
		{"all answered", []int{part, part, last}, 3, 9},
		{"a large one answered", []int{120 << 10}, 1, 9},
	} {
		t.Run(c.name, func(t *testing.T) {
			var zxid atomic.Int64
			first, server := ends(t, &zxid)
			pass(t, server, first, packet(t, welcome...))
			pass(t, server, first, packet(t, int32(1), int64(5), int32(0)))
			ours, theirs := net.Pipe()
			defer ours.Close()
			second := newLink(ours, time.Minute, &zxid, first)
			pass(t, second, theirs, packet(t, make([]byte, 44))) // the greeting
			pass(t, theirs, second, packet(t, welcome...))
			for i, size := range c.set {
				pass(t, second, theirs, packet(t, int32(10+i), int32(101), int64(0), make([]byte, size)))
				if i < c.answered {
					pass(t, theirs, second, packet(t, int32(10+i), int64(7), int32(0)))
				}
			}
			pass(t, theirs, second, packet(t, int32(2), int64(9), int32(0)))
			if third := newLink(nil, 0, &zxid, second); third.since != c.since || third.newest != 9 {
				t.Errorf("watches of the third link tell of what came after %d, and the greeting says %d; want %d and 9", third.since, third.newest, c.since)
			}
			zxid.Store(0) // the session has expired, and its watches with it
			if next := newLink(nil, 0, &zxid, second); next.since != 0 || !next.whole.Load() {
				t.Errorf("in a new session watches tell of what came after %d", next.since)
			}
		})
	}
}

func TestLinkRefusesWhatIsNoSession(t *testing.T) {
	for _, timeout := range []int32{0, -1} {
		l, server := ends(t, new(atomic.Int64))
		go server.Write(packet(t, int32(0), timeout, int64(7), int32(16), make([]byte, 16)))
		if _, err := l.Read(make([]byte, 4)); err == nil || !strings.Contains(err.Error(), "which no ZooKeeper does") {
			t.Errorf("a session of %d ms: %v", timeout, err)
		}
	}
}

func TestLinkKnowsThatTheSessionIsOver(t *testing.T) {
	l, server := ends(t, new(atomic.Int64))
	pass(t, server, l, packet(t, welcome...))
	pass(t, l, server, packet(t, int32(8), int32(-11)))
	pass(t, server, l, packet(t, int32(7), int64(9), int32(0)))
	if l.closed.Load() {
		t.Error("the answer to another request was taken for it")
	}
	pass(t, server, l, packet(t, int32(8), int64(9), int32(0)))
	if !l.closed.Load() {
		t.Error("the answer was not seen")
	}
}

func TestLinkRefusesWhatIsNoPacket(t *testing.T) {
	for _, size := range []uint32{8, 1 << 31} {
		l, server := ends(t, new(atomic.Int64))
		pass(t, server, l, packet(t, welcome...))
		go server.Write(binary.BigEndian.AppendUint32(nil, size))
		if _, err := l.Read(make([]byte, 4)); err == nil || !strings.Contains(err.Error(), "no ZooKeeper") {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

// TestNoZooKeeper: who answers at the address, and how, is what the caller is told.
func TestNoZooKeeper(t *testing.T) {
	for _, c := range []struct{ says, want string }{
		{"SSH-2.0-x\r\n", ` does not speak ZooKeeper: it begins with "SSH-"`},
		{"", " does not answer"},
	} {
		t.Run(c.want, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var server sync.WaitGroup
			defer server.Wait()
			defer l.Close()
			server.Go(func() {
				for {
					nc, err := l.Accept()
					if err != nil {
						return
					}
					_, _ = nc.Write([]byte(c.says))
					server.Go(func() {
						_, _ = io.Copy(io.Discard, nc) // until the client has read it, or given up
						nc.Close()
					})
				}
			})
			b := New([]string{l.Addr().String()}, nil)
			defer b.Close()
			_, err = b.Lookup(t.Context(), "svc")
			if want := l.Addr().String() + c.want; err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v; want %s", err, want)
			}
		})
	}
}

// TestUnsentIsNoRefusal: a request that could not be sent has no answer, and may be tried
// again as it is.
func TestUnsentIsNoRefusal(t *testing.T) {
	c := &conn{zk: new(zk.Conn)}
	unsent := &net.OpError{Op: "write", Net: "tcp", Err: os.ErrDeadlineExceeded}
	if err := c.explain(unsent); isRefusal(err) || !errors.Is(err, unsent) {
		t.Errorf("refusal: %v, %v", isRefusal(err), err)
	}
	if err := c.explain(zk.ErrBadVersion); !isRefusal(err) {
		t.Errorf("the server's answer %v is no refusal", err)
	}
}
