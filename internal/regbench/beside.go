package regbench

import (
	"cmp"
	"slices"
	"testing"
	"time"
)

// A side is one of the clients that are compared. It does the same thing once
// more, and measures that, without what it does before and after.
type side func() (sample, error)

type sample struct {
	took    time.Duration
	traffic traffic // of the client that the benchmark is about
}

// timed measures f, and what goes over the meter's connections meanwhile.
func (m *Meter) timed(f func() error) (sample, error) {
	before, begin := m.read(), time.Now()
	err := f()
	return sample{time.Since(begin), m.read().since(before)}, err
}

// beside measures raw and ours in turns, after each has had one to warm up. If a
// side handles n records at once, its rate is reported, and else its time.
func beside(b *testing.B, n int, raw, ours side) {
	b.Helper()
	once(b, raw)
	once(b, ours)
	var r, o samples
	for b.Loop() {
		several(func() { r, o = append(r, once(b, raw)), append(o, once(b, ours)) })
	}
	r.report(b, n, "raw-")
	o.report(b, n, "ours-")
	ratio := float64(o.quantile(0.5)) / float64(r.quantile(0.5))
	if n > 0 {
		b.ReportMetric(1/ratio, "rate-ours/raw")
	} else {
		b.ReportMetric(ratio, "p50-ours/raw")
	}
	b.ReportMetric(0, "ns/op") // two things, and what is between them
}

// alone measures what only ours has.
func alone(b *testing.B, ours side) {
	b.Helper()
	once(b, ours)
	var o samples
	for b.Loop() {
		several(func() { o = append(o, once(b, ours)) })
	}
	o.report(b, 0, "ours-")
	b.ReportMetric(0, "ns/op")
}

// several makes one operation of a benchmark of many samples, as far as they are
// quick: the median of a few means little, and of that time most is pauses.
func several(f func()) {
	const least, most, enough = 5, 200, 2 * time.Second
	begin := time.Now()
	for i := 0; i < least || i < most && time.Since(begin) < enough; i++ {
		f()
	}
}

func once(b *testing.B, f side) sample {
	b.Helper()
	s, err := f()
	if err != nil {
		b.Fatal(err)
	}
	return s
}

type samples []sample

func (s samples) quantile(q float64) time.Duration {
	sorted := slices.SortedFunc(slices.Values(s), func(a, b sample) int { return cmp.Compare(a.took, b.took) })
	return sorted[int(q*float64(len(sorted)-1))].took
}

func (s samples) report(b *testing.B, n int, prefix string) {
	var total traffic
	for _, one := range s {
		total = total.plus(one.traffic)
	}
	total.report(b, prefix, "op", len(s))
	if n > 0 {
		b.ReportMetric(float64(n)/s.quantile(0.5).Seconds(), prefix+"regs/s")
		return
	}
	b.ReportMetric(s.quantile(0.5).Seconds()*1e3, prefix+"p50-ms")
	b.ReportMetric(s.quantile(0.99).Seconds()*1e3, prefix+"p99-ms")
}
