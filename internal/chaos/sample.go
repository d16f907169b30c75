package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A sample is what the process takes at one time.
type sample struct {
	at                time.Duration
	heap, rss         float64 // MiB
	goroutines, files float64
	calm              bool // a round has settled: no fault makes it more or less
}

// samples are taken every few seconds, written as CSV, and drawn.
type samples struct {
	dir string
	mu  sync.Mutex
	all []sample
	now func() time.Duration
}

const sampleEvery = 2 * time.Second

func newSamples(dir string) *samples { return &samples{dir: dir} }

func (s *samples) collect(ctx context.Context, now func() time.Duration) {
	s.mu.Lock()
	s.now = now
	s.mu.Unlock()
	for pause(ctx, sampleEvery) {
		s.add(false)
	}
}

// calm takes a sample that can be compared with others of its kind.
func (s *samples) calm() {
	runtime.GC()
	s.add(true)
}

func (s *samples) add(calm bool) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now != nil {
		s.all = append(s.all, sample{s.now(), float64(m.HeapAlloc) / (1 << 20), rss(), float64(runtime.NumGoroutine()), files(), calm})
	}
}

// rss is the memory of the process in MiB, or 0 where the system does not tell so.
func rss() float64 {
	b, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(b)) {
		if kb, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, _ := strconv.ParseFloat(strings.Fields(kb)[0], 64)
			return n / 1024
		}
	}
	return 0
}

func files() float64 {
	list, _ := os.ReadDir("/proc/self/fd")
	return float64(len(list))
}

// finish writes the samples, and checks that they are flat: in a run of nine rounds or
// more the median of those after settling, in the last third of the rounds, is at most a
// quarter above that in the first third, and a little that is no trend in such a number.
// Each round leaves another number of records and of links that are being given up,
// which is less than that; what leaks in each round is a multiple of it after an hour.
func (s *samples) finish(t testing.TB) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var csv strings.Builder
	csv.WriteString("seconds,heap MiB,rss MiB,goroutines,descriptors,settled\n")
	var calm []sample
	for _, p := range s.all {
		fmt.Fprintf(&csv, "%.1f,%.1f,%.1f,%.0f,%.0f,%t\n", p.at.Seconds(), p.heap, p.rss, p.goroutines, p.files, p.calm)
		if p.calm {
			calm = append(calm, p)
		}
	}
	if err := os.WriteFile(filepath.Join(s.dir, "samples.csv"), []byte(csv.String()), 0o644); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "samples.svg"), plot(s.all), 0o644); err != nil {
		t.Error(err)
	}
	third := len(calm) / 3
	if third < 3 {
		return
	}
	for _, m := range []struct {
		name   string
		of     func(sample) float64
		margin float64
	}{
		{"heap in MiB", func(p sample) float64 { return p.heap }, 8},
		{"goroutines", func(p sample) float64 { return p.goroutines }, 40},
		{"descriptors", func(p sample) float64 { return p.files }, 40},
	} {
		first, last := median(calm[:third], m.of), median(calm[len(calm)-third:], m.of)
		t.Logf("%s after settling, median of the first and of the last %d rounds: %.0f, %.0f", m.name, third, first, last)
		if last > first*1.25+m.margin {
			t.Errorf("%s grow: median %.0f in the first third of the rounds and %.0f in the last", m.name, first, last)
		}
	}
}

func median(list []sample, of func(sample) float64) float64 {
	var all []float64
	for _, p := range list {
		all = append(all, of(p))
	}
	slices.Sort(all)
	return all[len(all)/2]
}
