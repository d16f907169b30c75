package httpreg_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
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
// of a dial.
func TestHungIsLeftOut(t *testing.T) {
	for _, tt := range []struct {
		patience  time.Duration
		more      bool
		condition string
	}{
		{150 * time.Millisecond, false, "the caller has waited"},
		{20 * time.Millisecond, true, "the caller has not waited"},
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
				if err := get(t, client, tt.patience); errors.Is(err, context.DeadlineExceeded) {
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
