package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/internal/pipenet"
	"github.com/go-rollcall/registry/internal/testserver"
	"github.com/go-rollcall/registry/memreg"
	"github.com/go-rollcall/registry/timesvc"
)

// Number k starts k intervals after the first, or as soon as there is a turn.
func TestConcurrency(t *testing.T) {
	const answers = time.Second // so long does one take
	for _, tt := range []struct {
		concurrency int
		interval    time.Duration
		want        []time.Duration // when each starts
	}{
		{1, 400 * time.Millisecond, []time.Duration{0, 1000, 2000, 3000}},
		{1, 1500 * time.Millisecond, []time.Duration{0, 1500, 3000}},
		{3, 200 * time.Millisecond, []time.Duration{0, 200, 400, 1000, 1200, 1400, 2000}},
		{3, 0, []time.Duration{0, 0, 0, 1000, 1000, 1000, 2000}},
		{64, 200 * time.Millisecond, []time.Duration{0, 200, 400, 600, 800, 1000, 1200}},
	} {
		t.Run(fmt.Sprint(tt.concurrency, " ", tt.interval), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var pipes pipenet.Net
				l := pipes.Listen("h:1")
				defer l.Close()
				go func() {
					for {
						c, err := l.Accept()
						if err != nil {
							return
						}
						time.AfterFunc(answers, func() { io.WriteString(c, "h:1: now\n"); c.Close() })
					}
				}()
				store := memreg.NewStore()
				store.Plant("go_servers", "h:1", nil)
				reg := registry.New(store.Conn(), nil)
				defer reg.Close()
				client := timesvc.NewClient(reg, "go_servers", &timesvc.ClientOptions{Dial: pipes.Dial, Logger: slog.New(slog.DiscardHandler)})
				defer client.Close()

				f := getFlags{requests: len(tt.want), interval: tt.interval, concurrency: tt.concurrency}
				begin := time.Now()
				n := 0
				for r := range f.load(t.Context(), client) {
					if r.err != nil || r.answer.Latency != answers {
						t.Errorf("request %d: %+v, %v", r.number, r.answer, r.err)
					}
					if got := r.start.Sub(begin); got != tt.want[r.number]*time.Millisecond {
						t.Errorf("request %d started after %v, want %v", r.number, got, tt.want[r.number]*time.Millisecond)
					}
					n++
				}
				if n != len(tt.want) {
					t.Errorf("%d results, want %d", n, len(tt.want))
				}
			})
		})
	}
}

// Many requests at a time are reported line by line, each once.
func TestGetConcurrently(t *testing.T) {
	url := "mem://" + t.Name()
	serveOn(t, url)
	var stdout, stderr bytes.Buffer
	const requests = 500
	if s := run(t.Context(), []string{"get", "--registry", url, "--requests", fmt.Sprint(requests), "--rate", "100000", "--concurrency", "64",
		"--balance", "p2c", "--output", "json"}, &stdout, &stderr); s != exitOK || stderr.Len() > 0 {
		t.Errorf("status %d, stderr:\n%s", s, &stderr)
	}
	seen := map[int]bool{}
	dec := json.NewDecoder(&stdout)
	for range requests {
		var r jsonRequest
		if err := dec.Decode(&r); err != nil {
			t.Fatal(err)
		}
		if seen[r.Request] || r.Request >= requests || r.Error != "" || r.Addr == "" {
			t.Errorf("%+v", r)
		}
		seen[r.Request] = true
	}
	var end struct{ Summary *jsonSummary }
	if err := dec.Decode(&end); err != nil || end.Summary == nil || end.Summary.Requests != requests {
		t.Errorf("%+v, %v", end, err)
	}
}

func TestFailuresAreCountedConcurrently(t *testing.T) {
	var stdout, stderr bytes.Buffer
	s := run(t.Context(), []string{"get", "--registry", "mem://" + t.Name(), "--requests", "20", "--interval", "0s", "--concurrency", "5"}, &stdout, &stderr)
	if n := strings.Count(stderr.String(), `msg="request failed"`); s != exitFailed || n != 20 || stdout.String() != "requests: 20, failures: 20\n" {
		t.Errorf("status %d, %d failures logged, stdout:\n%s\nstderr:\n%s", s, n, &stdout, &stderr)
	}
}

// A signal ends what is under way, of which nothing is said.
func TestInterruptedConcurrently(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stdout, stderr, status := new(testserver.Output), new(testserver.Output), make(chan int, 1)
	go func() {
		status <- run(ctx, []string{"get", "--registry", "static://" + l.Addr().String(), "--interval", "0s", "--concurrency", "4", "--timeout", "1h"}, stdout, stderr)
	}()
	for range 4 {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close() // in the end: nobody is answered
	}
	cancel()
	if s := <-status; s != exitOK || stdout.String() != "requests: 0, failures: 0\n" {
		t.Errorf("status %d, stdout:\n%s\nstderr:\n%s", s, stdout, stderr)
	}
}

func TestBalance(t *testing.T) {
	url := "mem://" + t.Name()
	addrs := serveOn(t, url)
	reg, err := registry.Open(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer reg.Close()
	for i, meta := range []map[string]string{{"zone": "a"}, {"zone": "b", "weight": "3"}} { // takes over from serve
		if _, err := reg.Register(t.Context(), registry.Instance{Service: "placed", Addr: addrs[i], Meta: meta}); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		flags string
		want  []int // answers by addrs, more or less, or nil if that is up to chance
	}{
		{"--balance random", nil},
		{"--balance round-robin", []int{20, 20}},
		{"--balance weighted", []int{10, 30}},
		{"--balance p2c", nil},
		{"--balance zone --zone a", []int{40, 0}},
		{"--balance zone --zone b", []int{0, 40}},
		{"--balance hash --key some", nil},
	} {
		t.Run(tt.flags, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			args := append([]string{"get", "--registry", url, "--service", "placed", "--requests", "40", "--interval", "0s", "--output", "json"}, strings.Fields(tt.flags)...)
			if s := run(t.Context(), args, &stdout, &stderr); s != exitOK {
				t.Fatalf("status %d, stderr:\n%s", s, &stderr)
			}
			lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
			var end struct{ Summary jsonSummary }
			if err := json.Unmarshal([]byte(lines[len(lines)-1]), &end); err != nil {
				t.Fatal(err)
			}
			got := []int{end.Summary.Servers[addrs[0]], end.Summary.Servers[addrs[1]]}
			switch {
			case got[0]+got[1] != 40:
				t.Errorf("%d and %d answers, want 40", got[0], got[1])
			case tt.want != nil && max(got[0]-tt.want[0], tt.want[0]-got[0]) > 2:
				t.Errorf("%d and %d answers, want %d", got[0], got[1], tt.want)
			case strings.Contains(tt.flags, "hash") && got[0] != 0 && got[1] != 0:
				t.Errorf("%d and %d answers: one key went to two servers", got[0], got[1])
			}
		})
	}
}
