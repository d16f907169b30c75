package consulreg_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"net"
	"net/http"
	"path"
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

// TestLossAfterSlowAnswer: when a server was slow to say what a session has lost, the
// next loss is seen all the same.
func TestLossAfterSlowAnswer(t *testing.T) {
	const slow = 3 * time.Second
	server := testserver.SharedConsul(t)
	admin := server.Admin(t)
	root := t.Name() + rand.Text()
	var delay atomic.Int64
	b := consulreg.New([]string{server.Addr()}, &consulreg.Options{Root: root, Config: &api.Config{
		Token: admin.Token(t, root),
		Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, addr)
			return slowConn{c, &delay}, err
		}}}})
	defer b.Close()
	s, err := b.NewSession(t.Context(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	var recs []registry.Record
	for _, id := range []string{"x", "y", "z"} {
		recs = append(recs, registry.Record{Service: "svc", ID: id, Value: []byte(`{"addr":"h:1","owner":"o"}`), Owner: "o"})
	}
	for _, err := range s.Put(t.Context(), recs) {
		if err != nil {
			t.Fatal(err)
		}
	}
	lost := make(chan string, 10)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Guard(ctx, func(_, id string) { lost <- id })
	}()
	defer func() { cancel(); <-done }()

	delay.Store(int64(slow))
	admin.Delete(t, path.Join(root, "svc", "x"))
	if id := <-lost; id != "x" {
		t.Fatalf("%s is lost, and x was deleted", id)
	}
	delay.Store(0)
	began := time.Now()
	admin.Delete(t, path.Join(root, "svc", "y"))
	if id := <-lost; id != "y" {
		t.Fatalf("%s is lost, and y was deleted", id)
	}
	if d := time.Since(began); d > slow {
		t.Errorf("the loss of a record was seen after %v, since the one before took %v", d, slow)
	}
}
