package httpreg_test

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/balance"
	"github.com/go-rollcall/registry/httpreg"
)

// A Base speaks to instances what it would speak by itself.
func TestHTTP2(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(echo)) // its certificate is for example.com
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	// Who has no configuration of TLS trusts what the system does.
	file := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", file)
	used := &http.Transport{}
	used.CloseIdleConnections() // and has been set up by net/http
	for name, tt := range map[string]struct {
		base *http.Transport
		want int
	}{
		"none":                   {nil, 2},
		"nothing in it":          {&http.Transport{}, 2},
		"in use":                 {used, 2},
		"HTTP/2 switched off":    {&http.Transport{TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}, 1},
		"a configuration of TLS": {&http.Transport{TLSClientConfig: &tls.Config{}}, 1},
		"one, and HTTP/2 forced": {&http.Transport{TLSClientConfig: &tls.Config{}, ForceAttemptHTTP2: true}, 2},
		"a dial function":        {&http.Transport{DialContext: new(net.Dialer).DialContext}, 1},
		//lint:ignore SA1019 a user's Base may have it
		"the older dial function": {&http.Transport{Dial: new(net.Dialer).Dial}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.store.Plant("example.com", "a", fmt.Appendf(nil, `{"addr":%q}`, s.Listener.Addr()))
			resp, err := w.client(httpreg.Options{Base: tt.base}).Get("https://example.com/")
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.ProtoMajor != tt.want {
				t.Errorf("answered by %s, want HTTP/%d", resp.Proto, tt.want)
			}
		})
	}
}

// Base.Dial is used, where there is no DialContext.
func TestOlderDial(t *testing.T) {
	w := newWorld(t)
	w.serve("a", echo)
	var n atomic.Int32
	//lint:ignore SA1019 a user's Base may have it
	base := &http.Transport{Dial: func(network, addr string) (net.Conn, error) {
		n.Add(1)
		return net.Dial(network, addr)
	}}
	resp, err := w.client(httpreg.Options{Base: base}).Get("http://go_servers/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if n.Load() != 1 {
		t.Errorf("Base.Dial was called %d times", n.Load())
	}
}

// Dial functions of the user's that make TLS themselves have no longer than others.
func TestHungTLSDial(t *testing.T) {
	w := newWorld(t)
	w.dead("a")
	base := &http.Transport{DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://go_servers/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := w.client(httpreg.Options{Base: base, DialTimeout: 10 * time.Millisecond}).Do(req)
	if err == nil {
		resp.Body.Close()
	}
	if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
		t.Errorf("%v, and the request's context: %v", err, ctx.Err())
	}
}

// As many connections as are in use at a time are kept for the next ones.
func TestConnectionsAreKept(t *testing.T) {
	const atOnce = 20
	w := newWorld(t)
	var made, there atomic.Int32
	var all chan struct{} // closed when all requests of a round are there
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if there.Add(1)%atOnce == 0 {
			close(all)
		}
		<-all
	}))
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			made.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	w.store.Plant("go_servers", "a", fmt.Appendf(nil, `{"addr":%q}`, s.Listener.Addr()))
	client := w.client(httpreg.Options{})
	for range 3 {
		all = make(chan struct{})
		var asking sync.WaitGroup
		for range atOnce {
			asking.Go(func() {
				resp, err := client.Get("http://go_servers/")
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
			})
		}
		asking.Wait()
	}
	if n := made.Load(); n != atOnce {
		t.Errorf("%d connections for %d requests at a time, in three rounds", n, atOnce)
	}
}

// Close may come with the first requests: these are answered, or fail with ErrClosed, and
// the Transport's goroutines end.
func TestCloseWhileFirstAsked(t *testing.T) {
	w := newWorld(t)
	s := w.serve("a", echo)
	names := []string{"go_servers"}
	for i := range 15 {
		names = append(names, fmt.Sprint("other", i))
		w.store.Plant(names[i+1], "a", fmt.Appendf(nil, `{"addr":%q}`, s.Listener.Addr()))
	}
	for range 50 {
		tr := httpreg.NewTransport(w.reg, &httpreg.Options{Balance: &balance.Options{Logger: slog.New(slog.DiscardHandler)}})
		var asking sync.WaitGroup
		for _, name := range names {
			asking.Go(func() {
				req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+name+"/", http.NoBody)
				if err != nil {
					t.Error(err)
					return
				}
				resp, err := tr.RoundTrip(req)
				if err == nil {
					resp.Body.Close()
				} else if !errors.Is(err, registry.ErrClosed) {
					t.Error(err)
				}
			})
		}
		runtime.Gosched()
		tr.Close()
		asking.Wait()
	}
}
