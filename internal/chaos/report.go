package chaos

import (
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// counts are what a run has done.
type counts struct {
	mu      sync.Mutex
	n       map[string]int
	rounds  int
	settled []time.Duration
}

func (c *counts) add(what string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[what] += n
}

func (c *counts) note(what string, err error) {
	if err != nil {
		what += "-unconfirmed"
	}
	c.add(what, 1)
}

func (c *counts) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var words []string
	for _, k := range slices.Sorted(maps.Keys(c.n)) {
		words = append(words, fmt.Sprint(k, " ", c.n[k]))
	}
	return strings.Join(words, ", ")
}

// report says what was done.
func (r *run) report() {
	if r.counts.rounds > 0 {
		s := slices.Sorted(slices.Values(r.counts.settled))
		r.t.Logf("%d rounds in %v; settled within %v, median %v, at most %v allowed; %d stalls of the machine",
			r.counts.rounds, r.now().Round(time.Second), s[len(s)-1].Round(10*time.Millisecond), s[len(s)/2].Round(10*time.Millisecond), r.w.settling(), r.losses.seenStalls())
	}
	r.t.Log(r.counts.String())
}

// logs keeps what the clients log in the round that is under way and the one before.
type logs struct {
	dir string
	mu  sync.Mutex
	f   *os.File
	old []string
}

func newLogs(dir string) *logs { return &logs{dir: dir} }

// round begins a file for a round, headed by its faults.
func (l *logs) round(n int, faults []Fault, now time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f != nil {
		l.f.Close()
	}
	path := filepath.Join(l.dir, fmt.Sprintf("round-%d.log", n))
	l.f, _ = os.Create(path)
	if l.old = append(l.old, path); len(l.old) > 2 {
		os.Remove(l.old[0])
		l.old = l.old[1:]
	}
	fmt.Fprintf(l.f, "round %d, from %v on (%s)\n", n, now.Round(time.Millisecond), time.Now().Format(time.StampMilli))
	for _, f := range faults {
		fmt.Fprintln(l.f, f)
	}
}

func (l *logs) say(format string, args ...any) {
	fmt.Fprintf(l, "time=%s "+format+"\n", append([]any{time.Now().Format("2006-01-02T15:04:05.000Z")}, args...)...)
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return len(p), nil
	}
	return l.f.Write(p)
}

func (l *logs) logger(client int) *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug})).With("client", client)
}

func (l *logs) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f != nil {
		l.f.Close()
		l.f = nil
	}
}
