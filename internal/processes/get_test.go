package processes_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"
)

// A request is a line that get has written.
type request struct {
	Request   int
	Start     time.Time
	Addr      string
	Failed    []struct{ Addr, Error string }
	LatencyMS float64 `json:"latency_ms"`
	Error     string
	Summary   *summary
}

type summary struct{ Requests, Failures int }

func (r request) took() time.Duration { return time.Duration(r.LatencyMS * float64(time.Millisecond)) }

// asked reports whether addr was asked for it, in vain or not.
func (r request) asked(addr string) bool { return r.Addr == addr || r.failedAt(addr) }

func (r request) failedAt(addr string) bool {
	return slices.ContainsFunc(r.Failed, func(f struct{ Addr, Error string }) bool { return f.Addr == addr })
}

// A getter is `timesvc get`, which asks all the while.
type getter struct {
	*program
	read  int       // bytes
	lines []request // in the order in which they ended
	end   *summary
}

// since returns all requests that began after begin, and waits for n of these.
func (g *getter) since(t *testing.T, begin time.Time, n int) []request {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		more := g.parse(t)
		var lines []request
		for _, r := range slices.Backward(g.lines) {
			if r.Start.Before(begin.Add(-requestTimeout - slack)) {
				break // those before have ended sooner, so they have begun sooner than begin
			}
			if !r.Start.Before(begin.Round(0)) {
				lines = append(lines, r)
			}
		}
		if len(lines) >= n {
			return lines
		}
		select {
		case <-more:
		case <-g.Done():
			t.Fatalf("get has ended (%v):\n%s", g.State(), &g.stderr)
		case <-limit.C:
			t.Fatalf("%d requests began after %v, want %d", len(lines), begin.Format("15:04:05.000"), n)
		}
	}
}

// parse reads the lines that have come, each of which must tell of a success.
func (g *getter) parse(t *testing.T) (more <-chan struct{}) {
	t.Helper()
	text, more := g.stdout.From(g.read)
	end := slices.Index(text, '\n')
	for ; end >= 0; end = slices.Index(text, '\n') {
		var r request
		if err := json.Unmarshal(text[:end], &r); err != nil {
			t.Fatalf("get wrote %q: %v", text[:end], err)
		}
		if r.Error != "" {
			t.Errorf("request %d failed: %s", r.Request, r.Error)
		}
		if g.end = r.Summary; g.end == nil {
			g.lines = append(g.lines, r)
		}
		g.read += end + 1
		text = text[end+1:]
	}
	return more
}

// finish ends get, and fails unless all requests have succeeded.
func (g *getter) finish(t *testing.T) {
	t.Helper()
	g.Terminate(t)
	g.ended(t)
	g.parse(t)
	if g.end == nil || g.end.Failures > 0 || g.end.Requests != len(g.lines) {
		t.Fatalf("get wrote %d lines, and then the summary %+v", len(g.lines), g.end)
	}
	t.Logf("%d requests, all answered", g.end.Requests)
}
