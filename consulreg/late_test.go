package consulreg_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/consulreg"
	"github.com/go-rollcall/registry/internal/late"
	"github.com/go-rollcall/registry/internal/testserver"
	"github.com/hashicorp/consul/api"
)

// A laggard is a network that keeps a request of a kind, beyond the end of the
// connection: as a server does that has read it and cannot carry it out yet.
type laggard struct {
	mu   sync.Mutex
	keep string // what is in such a request; "" if there is none
	kept []byte
	txns int // that were asked for
}

type laggardConn struct {
	net.Conn
	l *laggard
}

func (l *laggard) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, addr)
	return &laggardConn{c, l}, err
}

func (c *laggardConn) Write(p []byte) (int, error) {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	if bytes.HasPrefix(p, []byte("PUT /v1/txn")) {
		c.l.txns++
	}
	if c.l.keep != "" && bytes.Contains(p, []byte(c.l.keep)) {
		c.l.kept = bytes.Clone(p)
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// keeps has requests kept that have something in them, and none if that is "".
func (l *laggard) keeps(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keep = what
}

// deliver lets the server carry out what was kept.
func (l *laggard) deliver(t *testing.T, addr string) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write(l.kept); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	t.Logf("the late request: %s %.120s", resp.Status, answer)
	return err
}

// behind returns a backend behind l, with a root of its own.
func (l *laggard) behind(t *testing.T, server *testserver.Consul) (b *consulreg.Backend, root string) {
	root = t.Name() + rand.Text()
	b = consulreg.New([]string{server.Addr()}, &consulreg.Options{Root: root, Config: &api.Config{
		Token: server.Admin(t).Token(t, root), Transport: &http.Transport{DialContext: l.dial}}})
	t.Cleanup(func() { _ = b.Close() })
	return b, root
}

func TestLateRequest(t *testing.T) {
	server, l := testserver.SharedConsul(t), &laggard{}
	b, _ := l.behind(t, server)
	verbs := map[late.Kind]string{late.Write: "lock", late.TakeOver: "delete", late.Delete: "delete-cas"}
	late.Run(t, b, late.Network{
		Keep:    func(k late.Kind) { l.keeps(`"Verb":"` + verbs[k] + `"`) },
		Pass:    func() { l.keeps("") },
		Deliver: func() error { return l.deliver(t, server.Addr()) },
	})
}

// TestMovedFence: where a fence was moved by somebody else, all is written at the second
// try, in few requests.
func TestMovedFence(t *testing.T) {
	server, l := testserver.SharedConsul(t), &laggard{}
	b, root := l.behind(t, server)
	s, err := b.NewSession(t.Context(), 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	var recs []registry.Record
	for i := range 100 {
		recs = append(recs, registry.Record{Service: "svc", ID: fmt.Sprint("x", i), Value: []byte(`{"addr":"h:1"}`)})
	}
	l.keeps(`"Verb":"lock`)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_ = s.Put(ctx, recs[:1]) // not answered, so that the fence is moved before the next
	l.keeps("")
	if err := errors.Join(s.Put(t.Context(), recs[:1])...); err != nil {
		t.Fatal(err)
	}
	server.Admin(t).Delete(t, root+"/svc/~")
	l.mu.Lock()
	l.txns = 0
	l.mu.Unlock()
	if errors.Join(s.Put(t.Context(), recs)...) == nil {
		t.Error("the fence is gone, and all was written")
	}
	if err := errors.Join(s.Put(t.Context(), recs)...); err != nil {
		t.Errorf("at the second try: %v", err)
	}
	if l.txns > 5 {
		t.Errorf("%d transactions for 100 records and a fence", l.txns)
	}
}
