package timesvc_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/balance"
	"github.com/go-rollcall/registry/httpreg"
	"github.com/go-rollcall/registry/memreg"
	"github.com/go-rollcall/registry/timesvc"
)

// A client asks for the time by the name of the service, on real sockets, while the
// servers are replaced one by one.
func TestHTTPByName(t *testing.T) {
	store := memreg.NewStore()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	open := func() registry.Registry {
		reg := registry.New(store.Conn(), &registry.Options{Logger: log})
		t.Cleanup(func() { reg.Close() })
		return reg
	}
	looking := open()
	transport := httpreg.NewTransport(looking, &httpreg.Options{Policy: balance.RoundRobin, Balance: &balance.Options{Logger: log}})
	defer transport.Close()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}

	// sees returns when the client's registry shows want servers.
	sees := func(want int) {
		t.Helper()
		for snap, err := range looking.Watch(t.Context(), "clock_http") {
			if err != nil {
				t.Fatal(err)
			}
			if len(snap.Instances) == want {
				return
			}
		}
	}
	serve := func() (addr string, stop func() error) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := &timesvc.Server{Registry: open(), Service: "clock_http", HTTP: true, Drain: 200 * time.Millisecond, Logger: log}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- s.Serve(ctx, l) }()
		stop = func() error { cancel(); return <-done }
		return l.Addr().String(), stop
	}
	get := func() string {
		resp, err := client.Get("http://clock_http/")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		addr, _, ok := strings.Cut(string(body), ": 20")
		if err != nil || !ok || resp.StatusCode != http.StatusOK {
			t.Fatalf("status %d, answer %q, error %v", resp.StatusCode, body, err)
		}
		return addr
	}

	first, stopFirst := serve()
	second, stopSecond := serve()
	sees(2)
	for i, stop := range []func() error{stopFirst, stopSecond} {
		_, stopLast := serve()
		defer stopLast()
		sees(3)
		stopped := make(chan error, 1)
		go func() { stopped <- stop() }()
		for answered := 0; ; answered++ {
			get()
			select {
			case err := <-stopped:
				if err != nil || answered < 10 {
					t.Errorf("server %d stopped with %v, after %d requests", i, err, answered)
				}
			default:
				continue
			}
			break
		}
	}
	for range 10 {
		if addr := get(); addr == first || addr == second {
			t.Errorf("%s has answered, after its end", addr)
		}
	}
}
