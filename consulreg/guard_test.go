package consulreg_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"net"
	"net/http"
	"path"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/consulreg"
	"github.com/go-rollcall/registry/internal/testserver"
	"github.com/hashicorp/consul/api"
)

// A slowConn keeps transactions for a while, when it is told to.
type slowConn struct {
	net.Conn
	delay *atomic.Int64
}

func (c slowConn) Write(p []byte) (int, error) {
	if bytes.HasPrefix(p, []byte("PUT /v1/txn")) {
		time.Sleep(time.Duration(c.delay.Load()))
	}
	return c.Conn.Write(p)
}

// A deafConn never brings the answer to the first query that waits for a change.
type deafConn struct {
	net.Conn
	waits  chan<- struct{} // told of each such query, before it is sent
	first  *atomic.Bool    // nobody is deaf yet
	deaf   atomic.Bool
	closed chan struct{}
	once   sync.Once
}

func (c *deafConn) Write(p []byte) (int, error) {
	if bytes.HasPrefix(p, []byte("GET ")) && bytes.Contains(p, []byte("index=")) {
		if c.first.CompareAndSwap(true, false) {
			c.deaf.Store(true)
		}
		c.waits <- struct{}{}
	}
	return c.Conn.Write(p)
}

func (c *deafConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.deaf.Load() {
		<-c.closed
	}
	return n, err
}

func (c *deafConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// guarded is a session of its own, with the records of service "svc" that it put, and a
// guard.
type guarded struct {
	session registry.Session
	admin   *testserver.ConsulAdmin
	root    string
	lost    chan string // IDs
}

func guard(t *testing.T, wrap func(net.Conn) net.Conn, ids ...string) *guarded {
	return guardAt(t, t.Name()+rand.Text(), wrap, ids...)
}

func guardAt(t *testing.T, root string, wrap func(net.Conn) net.Conn, ids ...string) *guarded {
	server := testserver.SharedConsul(t)
	g := &guarded{admin: server.Admin(t), root: root, lost: make(chan string, 10)}
	b := consulreg.New([]string{server.Addr()}, &consulreg.Options{Root: g.root, Config: &api.Config{
		Token: g.admin.Token(t, g.root),
		Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return wrap(c), nil
		}}}})
	t.Cleanup(func() { b.Close() })
	s, err := b.NewSession(t.Context(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	g.session = s
	g.put(t, ids...)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Guard(ctx, func(_, id string) { g.lost <- id })
	}()
	t.Cleanup(func() { cancel(); <-done })
	return g
}

func (g *guarded) put(t *testing.T, ids ...string) {
	t.Helper()
	var recs []registry.Record
	for _, id := range ids {
		recs = append(recs, registry.Record{Service: "svc", ID: id, Value: []byte(`{"addr":"h:1","owner":"o"}`), Owner: "o", TakeOver: true})
	}
	for _, err := range g.session.Put(t.Context(), recs) {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestLossUnheard: the answer that tells of a loss is on its way when the query is given
// up, since there is another record to listen for. The loss is seen all the same.
func TestLossUnheard(t *testing.T) {
	waits, first := make(chan struct{}, 100), new(atomic.Bool)
	first.Store(true)
	g := guard(t, func(c net.Conn) net.Conn {
		return &deafConn{Conn: c, waits: waits, first: first, closed: make(chan struct{})}
	}, "x")
	<-waits
	g.admin.Delete(t, path.Join(g.root, "svc", "x"))
	g.put(t, "y")
	limit := time.NewTimer(5 * time.Second) // promise 7, and a slow machine
	defer limit.Stop()
	select {
	case id := <-g.lost:
		if id != "x" {
			t.Fatalf("%s is lost, and x was deleted", id)
		}
	case <-limit.C:
		t.Fatal("nothing is lost, and x was deleted")
	}
}

// TestLossAfterSlowAnswer: when a server was slow to say what a session has lost, the
// next loss is seen all the same.
func TestLossAfterSlowAnswer(t *testing.T) {
	const slow = 3 * time.Second
	var delay atomic.Int64
	g := guard(t, func(c net.Conn) net.Conn { return slowConn{c, &delay} }, "x", "y", "z")
	delay.Store(int64(slow))
	g.admin.Delete(t, path.Join(g.root, "svc", "x"))
	if id := <-g.lost; id != "x" {
		t.Fatalf("%s is lost, and x was deleted", id)
	}
	delay.Store(0)
	began := time.Now()
	g.admin.Delete(t, path.Join(g.root, "svc", "y"))
	if id := <-g.lost; id != "y" {
		t.Fatalf("%s is lost, and y was deleted", id)
	}
	if d := time.Since(began); d > slow {
		t.Errorf("the loss of a record was seen after %v, since the one before took %v", d, slow)
	}
}

// TestLossFromFurtherUp: what was taken over is deleted from further up. The index is then
// that of the takeover, which was a deletion as well.
func TestLossFromFurtherUp(t *testing.T) {
	plain := func(c net.Conn) net.Conn { return c }
	old := guard(t, plain, "x", "y")
	g := guardAt(t, old.root, plain)
	g.put(t, "x", "y")
	g.admin.Delete(t, old.root)
	limit := time.NewTimer(30 * time.Second) // twice listenWait, and a slow machine
	defer limit.Stop()
	for range 2 {
		select {
		case <-g.lost:
		case <-limit.C:
			t.Fatal("all was deleted, and nothing is lost")
		}
	}
}
