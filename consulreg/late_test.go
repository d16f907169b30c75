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
func (l *laggard) deliver(t *testing.T, addr string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write(l.kept); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(resp.Body)
	t.Logf("the late request: %s %.120s", resp.Status, answer)
}

// TestLateRequest: a request that was given up, and is carried out after others that
// followed it, changes nothing.
func TestLateRequest(t *testing.T) {
	server := testserver.SharedConsul(t)
	admin := server.Admin(t)
	root := t.Name() + rand.Text()
	l := &laggard{}
	b := consulreg.New([]string{server.Addr()}, &consulreg.Options{Root: root, Config: &api.Config{
		Token: admin.Token(t, root), Transport: &http.Transport{DialContext: l.dial}}})
	defer b.Close()
	s, err := b.NewSession(t.Context(), 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	other, err := b.NewSession(t.Context(), 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(context.Background())
	rec := func(n string) registry.Record {
		return registry.Record{Service: "svc", ID: "x", Value: []byte(`{"addr":"h:1","meta":{"n":"` + n + `"},"owner":"o"}`), Owner: "o"}
	}
	write := func(what string, op func(context.Context, []registry.Record) []error, r registry.Record) {
		t.Helper()
		for tries := 0; ; tries++ { // as the root does: the outcome of another may be unknown
			err := op(t.Context(), []registry.Record{r})[0]
			if err == nil {
				return
			}
			if tries == 3 {
				t.Fatalf("%s: %v", what, err)
			}
		}
	}
	late := func(what, verb string, r registry.Record) {
		t.Helper()
		l.keeps(`"Verb":"` + verb)
		defer l.keeps("")
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if err := s.Put(ctx, []registry.Record{r})[0]; err == nil {
			t.Fatalf("%s: there was an answer", what)
		}
	}
	is := func(when, want string) {
		t.Helper()
		recs, err := b.Lookup(t.Context(), "svc")
		got := ""
		if len(recs) > 0 {
			got = string(recs[0].Value)
		}
		if err != nil || got != want {
			t.Errorf("%s: %q (%v), want %q", when, got, err, want)
		}
	}
	for range 2 { // the fence moves for the first time, and then again
		late("create", "lock", rec("1"))
		write("delete", s.Delete, rec("1"))
		l.deliver(t, server.Addr())
		is("a creation after the deletion", "")

		write("create", s.Put, rec("2"))
		late("update", "lock", rec("3"))
		write("update", s.Put, rec("4"))
		l.deliver(t, server.Addr())
		is("an update after the next", string(rec("4").Value))
		write("delete", s.Delete, rec("4"))

		if err := other.Put(t.Context(), []registry.Record{rec("5")})[0]; err != nil {
			t.Fatal(err)
		}
		late("take over", "delete", rec("6"))
		if err := other.Delete(t.Context(), []registry.Record{rec("5")})[0]; err != nil {
			t.Fatal(err)
		}
		write("delete", s.Delete, rec("6"))
		l.deliver(t, server.Addr())
		is("a takeover after the deletion", "")
	}
}

// TestMovedFence: where a fence was moved by somebody else, all is written at the second
// try, in few requests.
func TestMovedFence(t *testing.T) {
	server := testserver.SharedConsul(t)
	admin := server.Admin(t)
	root := t.Name() + rand.Text()
	l := &laggard{}
	b := consulreg.New([]string{server.Addr()}, &consulreg.Options{Root: root, Config: &api.Config{
		Token: admin.Token(t, root), Transport: &http.Transport{DialContext: l.dial}}})
	defer b.Close()
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
	admin.Delete(t, root+"/svc/~")
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
