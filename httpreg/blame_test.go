package httpreg_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/go-rollcall/registry/balance"
	"github.com/go-rollcall/registry/httpreg"
)

// blaming returns a client that goes to the instances in turn, and leaves out for an hour
// who is to blame.
func (w *world) blaming(opts httpreg.Options) *http.Client {
	opts.Policy = balance.RoundRobin
	opts.Balance = &balance.Options{Logger: slog.New(slog.DiscardHandler), Eject: time.Hour, MaxEject: time.Hour}
	tr := httpreg.NewTransport(w.reg, &opts)
	w.Cleanup(func() { tr.Close() })
	return &http.Client{Transport: tr}
}

// get makes a GET that is given up after patience.
func get(t *testing.T, client *http.Client, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return getWithin(ctx, t, client)
}

func getWithin(ctx context.Context, t *testing.T, client *http.Client) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://go_servers/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	return err
}

// One that takes requests and never answers is left out, once a caller had the patience
// of a dial. Who cancels has lost interest, and says nothing of an instance at work.
func TestHungIsLeftOut(t *testing.T) {
	for _, tt := range []struct {
		patience  time.Duration
		cancels   bool
		more      bool
		condition string
	}{
		{150 * time.Millisecond, false, false, "the caller has waited"},
		{20 * time.Millisecond, false, true, "the caller has not waited"},
		{150 * time.Millisecond, true, true, "the caller has waited, and cancels"},
	} {
		t.Run(tt.condition, func(t *testing.T) {
			w := newWorld(t)
			end := make(chan struct{})
			hung := w.serve("a", func(http.ResponseWriter, *http.Request) { <-end })
			t.Cleanup(func() { close(end) }) // before the server is closed
			w.serve("b", echo)
			client := w.blaming(httpreg.Options{DialTimeout: 100 * time.Millisecond})
			n := 0
			for range 10 {
				ctx, cancel := context.WithTimeout(t.Context(), tt.patience)
				if tt.cancels {
					ctx, cancel = context.WithCancel(t.Context())
					time.AfterFunc(tt.patience, cancel)
				}
				err := getWithin(ctx, t, client)
				gone := ctx.Err()
				cancel()
				if err != nil && errors.Is(err, gone) {
					n++
				} else if err != nil {
					t.Error(err)
				}
			}
			if n == 0 || n > 1 != tt.more {
				t.Errorf("%d of 10 requests went to %s, which hangs", n, hung.Listener.Addr())
			}
		})
	}
}

// What is wrong with the request itself is no instance's fault, and goes to no other.
func TestCallersMistakes(t *testing.T) {
	for name, spoil := range map[string]func(*http.Request){
		"header": func(r *http.Request) { r.Header["no header"] = []string{"x"} },
		"method": func(r *http.Request) { r.Method = "PU T" },
		"scheme": func(r *http.Request) { r.URL.Scheme = "gopher" },
		"body": func(r *http.Request) {
			r.Body = io.NopCloser(io.MultiReader(strings.NewReader("half"), iotest.ErrReader(errors.New("the disk is gone"))))
		},
		"short body": func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader("half")), 8 },
		"long body":  func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader("half")), 2 },
	} {
		for _, again := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", to be had again: ", again), func(t *testing.T) {
				w := newWorld(t)
				var served [2]atomic.Int32
				for i, id := range []string{"a", "b"} {
					w.serve(id, func(rw http.ResponseWriter, r *http.Request) {
						if r.Method == http.MethodGet {
							served[i].Add(1)
						}
					})
				}
				client := w.blaming(httpreg.Options{})
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://go_servers/", http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				spoil(req)
				if body := req.Body; again && body != http.NoBody {
					req.GetBody = func() (io.ReadCloser, error) { return body, nil }
				}
				if resp, err := client.Transport.RoundTrip(req); err == nil {
					resp.Body.Close()
					if name != "long body" { // net/http sends what was announced, and may have the answer first
						t.Error("no error")
					}
				}
				for range 4 {
					if err := get(t, client, time.Minute); err != nil {
						t.Error(err)
					}
				}
				if a, b := served[0].Load(), served[1].Load(); a != 2 || b != 2 {
					t.Errorf("of the next 4 requests %d and %d went to the two instances", a, b)
				}
			})
		}
	}
}

// A dead connection is one whose other end is gone, which is noticed in writing.
type dead struct {
	net.Conn
	is *atomic.Bool
}

func (d dead) Write(p []byte) (int, error) {
	if d.is.Load() {
		return 0, syscall.EPIPE
	}
	return d.Conn.Write(p)
}

// A POST for which there was a dead connection, and then none, was never sent.
func TestDeadConnection(t *testing.T) {
	w := newWorld(t)
	first := w.serve("a", echo)
	w.serve("b", echo)
	var gone atomic.Bool
	client := w.client(httpreg.Options{Base: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr != first.Listener.Addr().String() {
			return new(net.Dialer).DialContext(ctx, network, addr)
		}
		if gone.Load() {
			return nil, syscall.ECONNREFUSED
		}
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		return dead{c, &gone}, err
	}}})
	for range 2 {
		resp, err := client.Post("http://go_servers/", "text/plain", strings.NewReader("text"))
		if err != nil {
			t.Fatalf("the first instance is gone: %v; %v", gone.Load(), err)
		}
		if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "POST go_servers text" {
			t.Errorf("%q, %v", b, err)
		}
		resp.Body.Close()
		gone.Store(true)
	}
}

// blackhole is a dial function that never connects to addr.
func blackhole(addr string, dials *sync.Map) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, to string) (net.Conn, error) {
		if to == addr {
			dials.Store(time.Now(), nil)
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return new(net.Dialer).DialContext(ctx, network, to)
	}
}

// A deadline that is shorter than the time for a dial leaves some for another instance.
func TestShortDeadline(t *testing.T) {
	w := newWorld(t)
	silent := w.serve("a", echo)
	w.serve("b", echo)
	var dials sync.Map
	client := w.blaming(httpreg.Options{
		DialTimeout: time.Second,
		Base:        &http.Transport{DialContext: blackhole(silent.Listener.Addr().String(), &dials)},
	})
	for i := range 6 {
		if err := get(t, client, 900*time.Millisecond); err != nil {
			t.Errorf("request %d: %v", i+1, err)
		}
	}
	n := 0
	dials.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("one that cannot be reached was dialled %d times, want once", n)
	}
}

// Connections that are all in use make nobody's dial slow: the next request goes to another
// instance, and this one stays.
func TestConnectionsInUse(t *testing.T) {
	w := newWorld(t)
	var served [2]atomic.Int32
	began, end := make(chan struct{}, 1), make(chan struct{})
	for i, id := range []string{"a", "b"} {
		w.serve(id, func(_ http.ResponseWriter, r *http.Request) {
			served[i].Add(1)
			if r.Method == http.MethodPost {
				began <- struct{}{}
				<-end
			}
		})
	}
	client := w.blaming(httpreg.Options{DialTimeout: time.Second, Base: &http.Transport{MaxConnsPerHost: 1}})
	long := make(chan error, 1)
	go func() {
		resp, err := client.Post("http://go_servers/", "text/plain", http.NoBody)
		if err == nil {
			resp.Body.Close()
		}
		long <- err
	}()
	<-began
	busy := &served[0]
	if busy.Load() == 0 {
		busy = &served[1]
	}
	for range 2 { // one of them would go to the busy one
		if err := get(t, client, time.Minute); err != nil {
			t.Error(err)
		}
	}
	if n := busy.Load(); n != 1 {
		t.Errorf("the busy instance has had %d requests, want 1", n)
	}
	close(end)
	if err := <-long; err != nil {
		t.Error(err)
	}
	for range 4 {
		if err := get(t, client, time.Minute); err != nil {
			t.Error(err)
		}
	}
	if n := busy.Load(); n != 3 {
		t.Errorf("of 4 more requests %d went to the one that was busy", n-1)
	}
}

// A dial function of the older form that hangs has the instance left out as any other has,
// also where connections are limited.
func TestHungDialWithALimit(t *testing.T) {
	w := newWorld(t)
	end := make(chan struct{})
	t.Cleanup(func() { close(end) })
	silent := w.serve("a", echo).Listener.Addr().String()
	w.serve("b", echo)
	client := w.blaming(httpreg.Options{DialTimeout: 100 * time.Millisecond, Base: &http.Transport{
		MaxConnsPerHost: 1,
		//lint:ignore SA1019 a user may have it
		Dial: func(network, addr string) (net.Conn, error) {
			if addr == silent {
				<-end
			}
			return net.Dial(network, addr)
		},
	}})
	asked := 0
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GetConn: func(addr string) {
		if addr == silent {
			asked++
		}
	}})
	for range 10 {
		if err := getWithin(ctx, t, client); err != nil {
			t.Error(err)
		}
	}
	if asked != 1 {
		t.Errorf("%d requests asked for a connection to one that cannot be reached, want one", asked)
	}
}
