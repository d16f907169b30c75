package httpreg_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/balance"
	"github.com/go-rollcall/registry/httpreg"
	"github.com/go-rollcall/registry/memreg"
)

// A world is a registry in memory and servers on loopback.
type world struct {
	*testing.T
	store *memreg.Store
	reg   registry.Registry
}

func newWorld(t *testing.T) *world {
	store := memreg.NewStore()
	reg := registry.New(store.Conn(), &registry.Options{Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() { reg.Close() })
	return &world{t, store, reg}
}

// serve starts a server that is announced under name, with an address that sorts
// before those of later ones.
func (w *world) serve(name string, h http.HandlerFunc) *httptest.Server {
	s := httptest.NewServer(h)
	w.Cleanup(s.Close)
	w.store.Plant("go_servers", name, fmt.Appendf(nil, `{"addr":%q}`, s.Listener.Addr()))
	return s
}

// dead announces an address at which nobody listens.
func (w *world) dead(name string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.Fatal(err)
	}
	l.Close()
	w.store.Plant("go_servers", name, fmt.Appendf(nil, `{"addr":%q}`, l.Addr()))
}

// inOrder picks the first instance that was not tried.
type inOrder struct{}

func (inOrder) Measures() bool { return false }

func (inOrder) Prepare([]*balance.Node) func(balance.Request) int {
	return func(r balance.Request) int { return len(r.Tried) }
}

func (w *world) client(opts httpreg.Options) *http.Client {
	opts.Policy = func() balance.Policy { return inOrder{} }
	opts.Balance = &balance.Options{Logger: slog.New(slog.DiscardHandler), Eject: -1}
	tr := httpreg.NewTransport(w.reg, &opts)
	w.Cleanup(func() { tr.Close() })
	return &http.Client{Transport: tr}
}

// abort breaks the connection off, with the request read.
func abort(n *atomic.Int32) http.HandlerFunc {
	return func(_ http.ResponseWriter, r *http.Request) {
		n.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		panic(http.ErrAbortHandler)
	}
}

func echo(rw http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	fmt.Fprintf(rw, "%s %s %s", r.Method, r.Host, b)
}

// once is a body that cannot be had again.
type once struct {
	io.Reader
	closed *atomic.Int32
}

func (o once) Close() error { o.closed.Add(1); return nil }

func TestRetries(t *testing.T) {
	for name, tt := range map[string]struct {
		method    string
		key, body bool // Idempotency-Key; a body that can be had once
		dead      bool // the first server cannot be reached; else it breaks off
		ok        bool
	}{
		"GET, sent":                                {method: "GET", ok: true},
		"PUT, sent, the body can be had again":     {method: "PUT", ok: true},
		"PUT, sent, the body is gone":              {method: "PUT", body: true, ok: false},
		"POST, sent":                               {method: "POST", ok: false},
		"POST, sent, with a key":                   {method: "POST", key: true, ok: true},
		"POST, sent, with a key, the body is gone": {method: "POST", key: true, body: true, ok: false},
		"POST, not sent":                           {method: "POST", dead: true, ok: true},
		"POST, not sent, a body to be had once":    {method: "POST", dead: true, body: true, ok: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			var broken, closed atomic.Int32
			if tt.dead {
				w.dead("a")
			} else {
				w.serve("a", abort(&broken))
			}
			w.serve("b", echo)
			client := w.client(httpreg.Options{})
			var body io.Reader = strings.NewReader("text")
			if tt.body {
				body = once{strings.NewReader("text"), &closed}
			}
			req, err := http.NewRequestWithContext(t.Context(), tt.method, "http://go_servers/path", body)
			if err != nil {
				t.Fatal(err)
			}
			if tt.key {
				req.Header["Idempotency-Key"] = nil // net/http's way to say so without sending one
				req.Header.Set("Idempotency-Key", "1")
			}
			resp, err := client.Do(req)
			if ok := err == nil; ok != tt.ok {
				t.Fatalf("error %v", err)
			}
			if err == nil {
				defer resp.Body.Close()
				if b, _ := io.ReadAll(resp.Body); string(b) != tt.method+" go_servers text" {
					t.Errorf("answer %q", b)
				}
				if resp.Request.URL.Host != "go_servers" {
					t.Errorf("the response's request went to %q", resp.Request.URL.Host)
				}
			}
			if tt.body && closed.Load() == 0 {
				t.Error("the body was not closed")
			}
		})
	}
}

// A request that breaks whoever gets it does not go round.
func TestSentThreeTimesAtMost(t *testing.T) {
	w := newWorld(t)
	var n atomic.Int32
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		w.serve(name, abort(&n))
	}
	_, err := w.client(httpreg.Options{}).Get("http://go_servers/")
	if err == nil || n.Load() != 3 {
		t.Errorf("sent %d times: %v", n.Load(), err)
	}
}

// The server ends the connection at the same time, which may be what the client sees.
func TestNoRetryAfterTheContext(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	w.serve("a", func(http.ResponseWriter, *http.Request) { cancel(); <-ctx.Done(); panic(http.ErrAbortHandler) })
	var n atomic.Int32
	w.serve("b", func(http.ResponseWriter, *http.Request) { n.Add(1) })
	req, _ := http.NewRequestWithContext(ctx, "GET", "http://go_servers/", http.NoBody)
	if _, err := w.client(httpreg.Options{}).Do(req); !errors.Is(err, context.Canceled) || n.Load() != 0 {
		t.Errorf("%v, sent %d times more", err, n.Load())
	}
}

func TestNobody(t *testing.T) {
	w := newWorld(t)
	client := w.client(httpreg.Options{})
	if _, err := client.Get("http://go_servers/"); !errors.Is(err, balance.ErrNone) || !strings.Contains(err.Error(), `"go_servers"`) {
		t.Errorf("%v, want ErrNone, naming the service", err)
	}
	w.dead("a")
	if _, err := client.Get("http://go_servers/"); err == nil || !strings.Contains(err.Error(), "refused") && !errors.Is(err, balance.ErrNone) {
		t.Errorf("%v, want why it could not be reached", err)
	}
	var closed atomic.Int32
	if _, err := client.Post("http://no..such..%2f/", "text/plain", once{strings.NewReader("x"), &closed}); err == nil {
		t.Error("an invalid name: no error")
	}
}

// An ordinary host goes where it says.
func TestOrdinaryHosts(t *testing.T) {
	w := newWorld(t)
	s := httptest.NewServer(http.HandlerFunc(echo))
	defer s.Close()
	resp, err := w.client(httpreg.Options{}).Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

// Connections are kept while the instance is there, and closed when it goes; that of a
// request under way when it ends.
func TestConnectionsGoWithTheInstance(t *testing.T) {
	w := newWorld(t)
	conns := make(chan http.ConnState, 100)
	slow, begun := make(chan struct{}), make(chan struct{})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(begun)
			<-slow
		}
		_, _ = io.WriteString(rw, "ok")
	}))
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) { conns <- st }
	s.Start()
	defer s.Close()
	next := func(want http.ConnState) {
		t.Helper()
		end := time.After(10 * time.Second)
		for {
			select {
			case st := <-conns:
				if st == want {
					return
				}
			case <-end:
				t.Fatalf("no connection became %v", want)
			}
		}
	}
	w.store.Plant("go_servers", "a", fmt.Appendf(nil, `{"addr":%q}`, s.Listener.Addr()))
	client := w.client(httpreg.Options{})
	get := func(path string) {
		resp, err := client.Get("http://go_servers" + path)
		if err != nil {
			t.Error(err)
			return
		}
		if b, err := io.ReadAll(resp.Body); string(b) != "ok" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		resp.Body.Close()
	}
	get("/")
	next(http.StateIdle)
	get("/")
	next(http.StateIdle)
	for len(conns) > 0 {
		if <-conns == http.StateNew {
			t.Error("a second connection")
		}
	}
	done := make(chan struct{})
	go func() { defer close(done); get("/slow") }()
	<-begun
	get("/") // a second one, idle when the instance goes
	next(http.StateIdle)
	w.store.Remove("go_servers", "a")
	next(http.StateClosed)
	close(slow)
	<-done
	next(http.StateClosed)
}

// Servers prove that they are the service.
func TestTLS(t *testing.T) {
	w := newWorld(t)
	s := httptest.NewTLSServer(http.HandlerFunc(echo)) // its certificate is for example.com
	defer s.Close()
	for _, name := range []string{"example.com", "go_servers"} {
		w.store.Plant(name, "a", fmt.Appendf(nil, `{"addr":%q}`, s.Listener.Addr()))
	}
	base := s.Client().Transport.(*http.Transport).Clone()
	base.TLSClientConfig.ServerName = ""
	base.DialContext = nil // httptest's knows example.com
	s.Config.ErrorLog = nil
	client := w.client(httpreg.Options{Base: base})
	resp, err := client.Get("https://example.com/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if _, err := client.Get("https://go_servers/"); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate for another name: %v", err)
	}
}

// For the balancer a request lasts until its response is read or closed.
func TestDone(t *testing.T) {
	w := newWorld(t)
	w.serve("a", func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write(bytes.Repeat([]byte("x"), 1<<20)) })
	var out atomic.Int32
	tr := httpreg.NewTransport(w.reg, &httpreg.Options{Policy: func() balance.Policy { return watching{&out} }})
	defer tr.Close()
	client := &http.Client{Transport: tr}
	for _, end := range []func(io.ReadCloser){
		func(b io.ReadCloser) { _, _ = io.Copy(io.Discard, b) },
		func(b io.ReadCloser) { b.Close() },
	} {
		resp, err := client.Get("http://go_servers/")
		if err != nil {
			t.Fatal(err)
		}
		if n := out.Load(); n != 1 {
			t.Errorf("%d requests under way before the answer is read", n)
		}
		end(resp.Body)
		resp.Body.Close()
		client.CloseIdleConnections()
		if n := lookAgain(t, client, &out); n != 1 {
			t.Errorf("%d requests under way after the answer was read, and one more asked", n)
		}
	}
}

// watching notes how many requests are under way when one is picked, this one counted.
type watching struct{ n *atomic.Int32 }

func (watching) Measures() bool { return true }

func (p watching) Prepare(set []*balance.Node) func(balance.Request) int {
	return func(balance.Request) int {
		p.n.Store(int32(set[0].InFlight()) + 1)
		return 0
	}
}

func lookAgain(t *testing.T, client *http.Client, out *atomic.Int32) int32 {
	resp, err := client.Get("http://go_servers/")
	if err != nil {
		t.Fatal(err)
	}
	n := out.Load()
	resp.Body.Close()
	return n
}
