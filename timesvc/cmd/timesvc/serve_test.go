package main

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/balance"
	"github.com/go-rollcall/registry/httpreg"
	"github.com/go-rollcall/registry/internal/testserver"
)

// One process tells the time twice, under two names, and is announced as such, with
// the same metadata; a client of httpreg finds it.
func TestServeHTTP(t *testing.T) {
	url := "mem://" + t.Name()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	logs, status := new(testserver.Output), make(chan int, 1)
	go func() {
		status <- run(ctx, []string{"serve", "--registry", url, "--service", "clock", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0",
			"--meta", "zone=a", "--meta", "note=x=1,y=2", "--drain", "1s"}, io.Discard, logs)
	}()
	logs.Await(t, `announced" .*service=clock instance`)
	logs.Await(t, `announced" .*service=clock_http instance`)
	reg, err := registry.Open(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer reg.Close()
	meta := map[string]string{"zone": "a", "note": "x=1,y=2"}
	var addr string
	for _, name := range []string{"clock", "clock_http"} {
		ins, err := reg.Lookup(t.Context(), name)
		if err != nil || len(ins) != 1 || !maps.Equal(ins[0].Meta, meta) {
			t.Fatalf("%s: %+v, %v, want one with %v", name, ins, err, meta)
		}
		addr = ins[0].Addr
	}
	transport := httpreg.NewTransport(reg, &httpreg.Options{Balance: &balance.Options{Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}})
	defer transport.Close()
	client := &http.Client{Transport: transport}
	get := func(url string) (int, string) {
		t.Helper()
		resp, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	if code, body := get("http://clock_http/"); code != http.StatusOK || !strings.HasPrefix(body, addr+": 20") {
		t.Errorf("the time by name: %d %q", code, body)
	}
	if code, body := get("http://clock_http/healthz"); code != http.StatusOK {
		t.Errorf("health by name: %d %q", code, body)
	}
	cancel()
	logs.Await(t, "service=clock_http .*stopping|stopping.*service=clock_http")
	if code, _ := get("http://" + addr + "/healthz"); code != http.StatusServiceUnavailable {
		t.Errorf("draining, and its health is %d", code)
	}
	if code, body := get("http://" + addr + "/"); code != http.StatusOK || !strings.HasPrefix(body, addr+": 20") {
		t.Errorf("draining: the time is %d %q", code, body)
	}
	if s := <-status; s != exitOK {
		t.Errorf("status %d:\n%s", s, logs)
	}
	for _, name := range []string{"clock", "clock_http"} {
		if ins, err := reg.Lookup(t.Context(), name); err != nil || len(ins) > 0 {
			t.Errorf("%s: %+v, %v, want none any more", name, ins, err)
		}
	}
}
