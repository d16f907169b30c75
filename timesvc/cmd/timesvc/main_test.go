package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"net"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/internal/testserver"
)

// serveOn runs serve on two free ports until the test ends, and returns their
// addresses once they are announced.
func serveOn(t *testing.T, url string) []string {
	ctx, cancel := context.WithCancel(context.Background())
	logs, status := new(testserver.Output), make(chan int, 1)
	go func() {
		status <- run(ctx, []string{"serve", "--registry", url, "--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--drain", "0s"}, io.Discard, logs)
	}()
	t.Cleanup(func() {
		cancel()
		if s := <-status; s != exitOK {
			t.Errorf("serve ended with status %d:\n%s", s, logs)
		}
	})
	m := logs.Await(t, `(?s)announced" backend=`+url+` service=go_servers instance=(\S+).*announced" .*instance=(\S+)`)
	return m[1:]
}

func TestGetText(t *testing.T) {
	url := "mem://" + t.Name()
	addrs := serveOn(t, url)
	t.Setenv(envRegistry, url) // instead of the flag
	var stdout, stderr bytes.Buffer
	if s := run(t.Context(), []string{"get", "--requests", "40", "--interval", "0s"}, &stdout, &stderr); s != exitOK || stderr.Len() > 0 {
		t.Errorf("status %d, stderr:\n%s", s, &stderr)
	}
	lines := strings.Split(strings.TrimSuffix(stdout.String(), "\n"), "\n")
	if len(lines) != 2*40+4 {
		t.Fatalf("%d lines:\n%s", len(lines), &stdout)
	}
	for i := 0; i < 80; i += 2 {
		addr, ok := strings.CutPrefix(lines[i], "connect host: ")
		if !ok || addr != addrs[0] && addr != addrs[1] || !strings.HasPrefix(lines[i+1], addr+": 20") {
			t.Errorf("lines %q, %q", lines[i], lines[i+1])
		}
	}
	summary := strings.Join(lines[80:], "\n")
	want := `^requests: 40, failures: 0\nanswers by 127.0.0.1:\d+: +\d+ +[\d.]+%( #+)?\nanswers by 127.0.0.1:\d+: +\d+ +[\d.]+%( #+)?\nlatency: p50 \S+s, p99 \S+s$`
	if !regexp.MustCompile(want).MatchString(summary) {
		t.Errorf("summary:\n%s", summary)
	}
}

func TestGetJSON(t *testing.T) {
	url := "mem://" + t.Name()
	addrs := serveOn(t, url)
	var stdout, stderr bytes.Buffer
	begin := time.Now()
	if s := run(t.Context(), []string{"get", "--registry", url, "--requests", "5", "--interval", "1ms", "--output", "json"}, &stdout, &stderr); s != exitOK {
		t.Errorf("status %d, stderr:\n%s", s, &stderr)
	}
	dec := json.NewDecoder(&stdout)
	for k := range 5 {
		var r jsonRequest
		if err := dec.Decode(&r); err != nil {
			t.Fatal(err)
		}
		if r.Request != k || r.Addr != addrs[0] && r.Addr != addrs[1] || !strings.HasPrefix(r.Answer, r.Addr+": ") || r.Tries != 1 || r.LatencyMS <= 0 || r.Error != "" ||
			r.Start.Before(begin.Round(0)) || r.Start.After(time.Now()) || len(r.Failed) > 0 {
			t.Errorf("request %d: %+v", k, r)
		}
	}
	var end struct{ Summary *jsonSummary }
	if err := dec.Decode(&end); err != nil || end.Summary == nil {
		t.Fatalf("%+v, %v", end, err)
	}
	if s := end.Summary; s.Requests != 5 || s.Failures != 0 || s.Servers[addrs[0]]+s.Servers[addrs[1]] != 5 || s.P50MS == nil || s.P99MS == nil {
		t.Errorf("summary %+v", s)
	}
	if dec.More() {
		t.Error("there is something after the summary")
	}
}

// announceNobody announces an address at which nobody listens, and returns it.
func announceNobody(t *testing.T, url string) string {
	reg, err := registry.Open(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reg.Close() })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := reg.Register(t.Context(), registry.Instance{Service: "go_servers", Addr: l.Addr().String()}); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

// A server that cannot be reached is asked now and then, and named.
func TestGetNamesWhoFailed(t *testing.T) {
	url := "mem://" + t.Name()
	addrs := serveOn(t, url)
	nobody := announceNobody(t, url)
	var stdout, stderr bytes.Buffer
	if s := run(t.Context(), []string{"get", "--registry", url, "--requests", "40", "--interval", "0s", "--output", "json"}, &stdout, &stderr); s != exitOK {
		t.Errorf("status %d, stderr:\n%s", s, &stderr)
	}
	named := 0
	for line := range bytes.Lines(stdout.Bytes()) {
		var r jsonRequest
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		if len(r.Failed) != max(r.Tries-1, 0) || len(r.Failed) > 0 && (r.Failed[0].Addr != nobody || !strings.Contains(r.Failed[0].Error, "refused")) {
			t.Errorf("%s", line)
		}
		named += len(r.Failed)
		if r.Addr == nobody || r.Addr != "" && r.Addr != addrs[0] && r.Addr != addrs[1] {
			t.Errorf("answered by %s", r.Addr)
		}
	}
	if named == 0 {
		t.Error("in 40 requests the server that is not there was never asked")
	}
}

// A request that has failed says who was asked, too.
func TestFailedRequestNamesWhoFailed(t *testing.T) {
	url := "mem://" + t.Name()
	nobody := announceNobody(t, url)
	var stdout, stderr bytes.Buffer
	if s := run(t.Context(), []string{"get", "--registry", url, "--requests", "1", "--output", "json"}, &stdout, &stderr); s != exitFailed {
		t.Errorf("status %d, stderr:\n%s", s, &stderr)
	}
	var r jsonRequest
	if err := json.NewDecoder(&stdout).Decode(&r); err != nil {
		t.Fatal(err)
	}
	if r.Tries != 1 || len(r.Failed) != 1 || r.Failed[0].Addr != nobody || !strings.Contains(r.Failed[0].Error, "refused") || r.Error == "" {
		t.Errorf("%+v", r)
	}
}

func TestFailuresAndInterval(t *testing.T) {
	for _, form := range []string{"text", "json"} {
		t.Run(form, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				url := "mem://" + rand.Text() // a store belongs to one bubble
				var stdout, stderr bytes.Buffer
				start := time.Now()
				s := run(t.Context(), []string{"get", "--registry", url, "--requests", "10", "--output", form}, &stdout, &stderr)
				if took := time.Since(start); s != exitFailed || took != 9*time.Second {
					t.Errorf("status %d after %v, want 1 after 9s", s, took)
				}
				if n := strings.Count(stderr.String(), `msg="request failed" backend=`+url+` service=go_servers`); n != 10 {
					t.Errorf("stderr:\n%s", &stderr)
				}
				switch form {
				case "text":
					if got := stdout.String(); got != "requests: 10, failures: 10\n" {
						t.Errorf("stdout:\n%s", got)
					}
				case "json":
					if n := strings.Count(stdout.String(), "has no instances"); n != 10 || !strings.Contains(stdout.String(), `{"summary":{"requests":10,"failures":10,"servers":{},"p50_ms":null,"p99_ms":null}}`) {
						t.Errorf("stdout:\n%s", &stdout)
					}
				}
			})
		})
	}
}

func TestGetInterrupted(t *testing.T) {
	url := "mem://" + t.Name()
	serveOn(t, url)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stdout, status := new(testserver.Output), make(chan int, 1)
	go func() {
		status <- run(ctx, []string{"get", "--registry", url, "--interval", "1h"}, stdout, io.Discard)
	}()
	stdout.Await(t, "connect host")
	cancel()
	if s := <-status; s != exitOK {
		t.Errorf("status %d", s)
	}
	if !strings.Contains(stdout.String(), "requests: 1, failures: 0\n") {
		t.Errorf("no summary of what was done:\n%s", stdout)
	}
}

func TestDemo(t *testing.T) {
	t.Setenv(envRegistry, "zk://in.use.example") // is not the demo's business
	var stdout, stderr bytes.Buffer
	if s := run(t.Context(), []string{"demo", "--requests", "60", "--interval", "1ms", "--service", "demo"}, &stdout, &stderr); s != exitOK {
		t.Errorf("status %d, stderr:\n%s", s, &stderr)
	}
	if n := strings.Count(stdout.String(), "answers by "); n != 3 {
		t.Errorf("answers by %d servers:\n%s", n, &stdout)
	}
}

func TestDemoInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stdout, status := new(testserver.Output), make(chan int, 1)
	go func() { status <- run(ctx, []string{"demo", "--interval", "1h"}, stdout, io.Discard) }()
	stdout.Await(t, "connect host")
	cancel()
	if s := <-status; s != exitOK || !strings.Contains(stdout.String(), "requests: 1, ") {
		t.Errorf("status %d:\n%s", s, stdout)
	}
}

func TestUsage(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for _, tt := range []struct {
		args   string
		status int
		want   string
	}{
		{"", exitUsage, "want serve, get or demo"},
		{"set", exitUsage, `unknown command "set"`},
		{"get", exitUsage, "--registry URL, or set REGISTRY_URL"},
		{"serve --listen 127.0.0.1:0", exitUsage, "--registry URL, or set REGISTRY_URL"},
		{"get --registry mem: more", exitUsage, "more"},
		{"get --registry mem: --colour", exitUsage, "unknown flag: --colour"},
		{"get --registry mem: --requests many", exitUsage, "--requests"},
		{"get --registry mem: --requests 0", exitUsage, "want 1 or more"},
		{"get --registry mem: --requests -3", exitUsage, "want 1 or more"},
		{"get --registry mem: --interval -1s", exitUsage, "--interval -1s: want 0 or more"},
		{"get --registry mem: --timeout 0s", exitUsage, "--timeout 0s: want more than 0"},
		{"get --registry mem: --output xml", exitUsage, "want text or json"},
		{"get --registry mem: --concurrency 0", exitUsage, "--concurrency 0: want 1 or more"},
		{"get --registry mem: --rate 0", exitUsage, "--rate 0: want a number of requests a second"},
		{"get --registry mem: --rate -5", exitUsage, "--rate -5: want a number of requests a second"},
		{"get --registry mem: --rate NaN", exitUsage, "--rate NaN: want a number of requests a second"},
		{"get --registry mem: --rate 1e9", exitUsage, "up to 1e+06"},
		{"get --registry mem: --rate fast", exitUsage, "--rate"},
		{"get --registry mem: --rate 5 --interval 1s", exitUsage, "--rate and --interval both say"},
		{"get --registry mem: --balance best", exitUsage, `--balance "best": want random, round-robin, weighted, p2c, hash or zone`},
		{"get --registry mem: --balance Hash --key a", exitUsage, `--balance "Hash": want random`},
		{"get --registry mem: --balance zone", exitUsage, "Give --zone NAME"},
		{"get --registry mem: --zone a", exitUsage, `--zone "a": only --balance zone`},
		{"get --registry mem: --balance p2c --key a", exitUsage, `--key "a": only --balance hash`},
		{"demo --rate 5 --interval 1s", exitUsage, "--rate and --interval both say"},
		{"get --registry mem: --service a/b", exitUsage, "invalid service"},
		{"get --registry nosuch://h", exitUsage, "nosuch"},
		{"get --registry mem://u:secret@h", exitUsage, "passwords do not belong in it"},
		{"demo --requests 0", exitUsage, "want 1 or more"},
		{"demo --service a/b", exitUsage, "invalid service"},
		{"serve --registry mem:", exitUsage, "--listen host:port"},
		{"serve --registry mem: --listen 8897", exitUsage, "want host:port"},
		{"serve --registry mem: --listen 127.0.0.1:99999", exitUsage, `--listen "127.0.0.1:99999": want host:port`},
		{"serve --registry mem: --http 127.0.0.1:web-port", exitUsage, `--http "127.0.0.1:web-port": want host:port`},
		{"serve --registry mem: --http 8080", exitUsage, `--http "8080": want host:port`},
		{"serve --registry mem: --listen 127.0.0.1:0 --http 127.0.0.1:0 --advertise h:1", exitUsage, "--advertise names one address, and there are 2"},
		{"serve --registry mem: --listen 127.0.0.1:0 --meta zone", exitUsage, `--meta "zone": want key=value`},
		{"serve --registry mem: --listen 127.0.0.1:0 --meta =a", exitUsage, `--meta "=a": want key=value`},
		{"serve --registry mem: --listen 127.0.0.1:0 --meta zone=a --meta zone=b", exitUsage, "--meta zone=b: the key is given twice"},
		{"serve --registry mem: --listen 127.0.0.1:0 --meta zone=\xff", exitUsage, "--meta: invalid metadata"},
		{"serve --registry mem: --listen 127.0.0.1:0 --meta x=" + strings.Repeat("y", registry.MaxRecord), exitUsage, "shorten the metadata"},
		{"serve --registry mem: --listen 127.0.0.1:0 --service a/b", exitUsage, "invalid service"},
		{"serve --registry mem: --listen 127.0.0.1:0 --http 127.0.0.1:0 --service " + strings.Repeat("n", 124), exitUsage, "invalid service"},
		{"serve --registry mem: --listen 127.0.0.1:0 --listen 127.0.0.1:0 --advertise h:1", exitUsage, "--advertise names one address"},
		{"serve --registry mem: --listen 127.0.0.1:0 --drain -1s", exitUsage, "--drain -1s: want 0 or more"},
		{"serve --registry mem: --listen 127.0.0.1:0 --ttl 0s", exitUsage, "--ttl 0s: want more than 0"},
		{"serve --registry mem: --listen 127.0.0.1:0 --ttl 1us", exitUsage, "invalid TTL"},
		{"serve --registry mem: --listen 127.0.0.1:0 --advertise h:70000", exitUsage, "65535"},
		{"serve --registry mem: --listen :0", exitUsage, "--advertise host:port"},
		{"serve --registry mem: --listen " + busy.Addr().String(), exitFailed, "address already in use"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			s := run(t.Context(), strings.Fields(tt.args), &stdout, &stderr)
			if s != tt.status || !strings.Contains(stderr.String(), tt.want) || stdout.Len() > 0 {
				t.Errorf("status %d, want %d and %q; stdout %q, stderr:\n%s", s, tt.status, tt.want, &stdout, &stderr)
			}
			if strings.Contains(stderr.String(), "secret") {
				t.Error("a password is shown")
			}
		})
	}
}

func TestHelp(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if s := run(t.Context(), []string{"get", "--help"}, &stdout, &stderr); s != exitOK || !strings.Contains(stdout.String(), "$REGISTRY_URL") {
		t.Errorf("status %d, stdout:\n%s", s, &stdout)
	}
}

// A writer that takes n bytes.
type fullDisk struct{ n int }

func (d *fullDisk) Write(p []byte) (int, error) {
	if d.n -= len(p); d.n < 0 {
		return 0, syscall.ENOSPC
	}
	return len(p), nil
}

func TestOutputLost(t *testing.T) {
	url := "mem://" + t.Name()
	serveOn(t, url)
	var stderr bytes.Buffer
	if s := run(t.Context(), []string{"get", "--registry", url, "--requests", "3", "--interval", "0s"}, &fullDisk{100}, &stderr); s != exitFailed ||
		!strings.Contains(stderr.String(), syscall.ENOSPC.Error()) {
		t.Errorf("status %d, stderr:\n%s", s, &stderr)
	}
}

func TestPercentile(t *testing.T) {
	var d []time.Duration
	for i := range 200 {
		d = append(d, time.Duration(i+1))
	}
	for _, tt := range []struct {
		n    int
		p    float64
		want time.Duration
	}{{0, 50, 0}, {1, 50, 1}, {1, 99, 1}, {2, 50, 1}, {3, 50, 2}, {100, 99, 99}, {101, 99, 100}, {200, 99, 198}, {200, 100, 200}} {
		if got := percentile(d[:tt.n], tt.p); got != tt.want {
			t.Errorf("p%v of 1 to %d: %d, want %d", tt.p, tt.n, got, tt.want)
		}
	}
}
