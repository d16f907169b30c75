package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// newSet makes a watch without a backend, and the sink that changes it.
func newSet(max int) (*watch, *sink, context.Context) {
	opts := (&Options{MaxInstances: max, Logger: slog.New(slog.DiscardHandler)}).withDefaults()
	w := newWatch(&core{opts: opts, log: opts.Logger, ctx: context.Background()}, "svc")
	ctx, cancel := context.WithCancelCause(w.ctx)
	return w, &sink{w: w, cancel: cancel}, ctx
}

func (w *watch) take() Snapshot {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.snapshot()
}

func record(id string, n int) Record {
	return Record{Service: "svc", ID: id, Value: fmt.Appendf(nil, `{"addr":"h:%d","meta":{"n":"%d"}}`, 1+n%65535, n)}
}

// model is the set as it is written down without thinking.
type model map[string]Record

func (m model) snapshot() (list []Instance, skipped int) {
	for _, id := range slices.Sorted(maps.Keys(m)) {
		if in, err := decode("svc", id, m[id].Value); err == nil {
			list = append(list, in)
		} else {
			skipped++
		}
	}
	return list, skipped
}

func TestSnapshotsMatchModel(t *testing.T) {
	type kept struct {
		shared, clone []Instance
	}
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 4))
		w, s, _ := newSet(0)
		m := model{}
		var all []kept
		some := func() (recs []Record) {
			for range rng.IntN(6) {
				rec := record(fmt.Sprint("x", rng.IntN(40)), rng.IntN(3))
				if rng.IntN(5) == 0 {
					rec.Value = []byte("not a record")
				}
				recs = append(recs, rec)
			}
			return recs
		}
		for i := range 200 {
			if rng.IntN(20) == 0 {
				clear(m)
				for _, rec := range some() {
					m[rec.ID] = rec
				}
				s.Reset(slices.Collect(maps.Values(m)), "v")
			} else {
				var gone []string
				for range rng.IntN(4) {
					gone = append(gone, fmt.Sprint("x", rng.IntN(40)))
				}
				recs := some()
				for _, id := range gone {
					delete(m, id)
				}
				for _, rec := range recs {
					m[rec.ID] = rec
				}
				s.Apply(recs, gone, "v")
			}
			if rng.IntN(3) == 0 {
				continue // nobody reads this one: changes pile up
			}
			snap := w.take()
			want, skipped := m.snapshot()
			if !slices.EqualFunc(snap.Instances, want, func(a, b Instance) bool { return reflect.DeepEqual(a, b) }) || snap.Skipped != skipped {
				t.Fatalf("seed %d, step %d:\n got %v, %d skipped\nwant %v, %d skipped", seed, i, snap.Instances, snap.Skipped, want, skipped)
			}
			all = append(all, kept{snap.Instances, slices.Clone(snap.Instances)})
		}
		for i, k := range all {
			if !reflect.DeepEqual(k.shared, k.clone) {
				t.Fatalf("seed %d: snapshot %d was changed after it was yielded", seed, i)
			}
		}
	}
}

// What makes no difference is no news.
func TestUnchangedSetIsNoNews(t *testing.T) {
	w, s, _ := newSet(0)
	recs := []Record{record("a", 1), record("b", 2), {ID: "bad", Value: []byte("?")}}
	s.Reset(recs, "1")
	rev, list := w.rev, w.take().Instances
	s.Reset(slices.Clone(recs), "2")
	s.Apply(recs[:1], []string{"never-there"}, "3")
	s.Apply(nil, nil, "4")
	if got := w.take().Instances; w.rev != rev || &got[0] != &list[0] {
		t.Errorf("%d news, and the list is %v", w.rev-rev, got)
	}
	if w.version != "4" {
		t.Errorf("version %q, want the newest", w.version)
	}
}

func TestMaxInstances(t *testing.T) {
	full := func() (*watch, *sink, context.Context) {
		w, s, ctx := newSet(3)
		s.Reset([]Record{record("a", 1), record("b", 1), record("c", 1)}, "1")
		return w, s, ctx
	}
	for name, tt := range map[string]struct {
		put  []Record
		gone []string
		fits bool
	}{
		"one more":                         {[]Record{record("d", 1)}, nil, false},
		"one more, and an unknown goes":    {[]Record{record("d", 1)}, []string{"unknown"}, false},
		"one more, and one goes":           {[]Record{record("d", 1)}, []string{"a"}, true},
		"a change":                         {[]Record{record("a", 2)}, nil, true},
		"one goes, and is named twice":     {[]Record{record("d", 1), record("e", 1)}, []string{"a", "a"}, false},
		"one more, named twice, for a one": {[]Record{record("d", 1), record("d", 2)}, []string{"a"}, true},
	} {
		w, s, ctx := full()
		s.Apply(tt.put, tt.gone, "2")
		if n := len(w.take().Instances); n > 3 {
			t.Errorf("%s: %d instances, over MaxInstances", name, n)
		}
		if fits := context.Cause(ctx) == nil; fits != tt.fits {
			t.Errorf("%s: taking it is %v, want %v", name, fits, tt.fits)
		}
	}
}

// TestMaxInstancesAfterAnOutage: those that stay on show while it is not believed yet that
// they are gone do not count.
func TestMaxInstancesAfterAnOutage(t *testing.T) {
	w, s, ctx := newSet(3)
	s.Reset([]Record{record("a", 1), record("b", 1), record("c", 1)}, "1")
	w.trouble = errUnanswered
	s.Reset(nil, "2")
	s.Apply([]Record{record("d", 1), record("e", 1)}, nil, "3")
	if got := w.take().Instances; context.Cause(ctx) != nil || len(got) != 2 {
		t.Errorf("taking two is refused: %v; there is %v", context.Cause(ctx), got)
	}
}

// After a set that is too large the backend's Watch is over. What it hands over
// before it has noticed belongs to a set that is not known.
func TestNothingIsTakenAfterTooLarge(t *testing.T) {
	w, s, ctx := newSet(3)
	s.Reset([]Record{record("a", 1), record("b", 1), record("c", 1)}, "1")
	last := w.take()
	s.Apply([]Record{record("d", 1)}, nil, "2")
	if !errors.Is(context.Cause(ctx), ErrTooLarge) {
		t.Fatalf("a set that is too large: %v", context.Cause(ctx))
	}
	s.Apply(nil, []string{"a"}, "3") // the registry has b, c and d
	if now := w.take(); w.version != "1" || !reflect.DeepEqual(now.Instances, last.Instances) || now.Confirmed != last.Confirmed {
		t.Errorf("confirmed as version %s: %v; want the last good set", w.version, now.Instances)
	}
}

func TestUnchangedSnapshotAllocatesNothing(t *testing.T) {
	w, s, _ := newSet(0)
	s.Reset(records10k(), "1")
	w.take()
	if n := testing.AllocsPerRun(100, func() { w.take() }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func records10k() []Record {
	recs := make([]Record, 10_000)
	for i := range recs {
		recs[i] = record(fmt.Sprintf("10.0.%d.%d:8897", i/256, i%256), i)
	}
	return recs
}

func BenchmarkSnapshot(b *testing.B) {
	recs := records10k()
	for _, changes := range []int{0, 1, 100} {
		b.Run(fmt.Sprintf("changes=%d", changes), func(b *testing.B) {
			w, s, _ := newSet(0)
			s.Reset(recs, "1")
			w.take()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				var put []Record
				for k := range changes {
					put = append(put, record(recs[(i*7919+k*97)%len(recs)].ID, 10_000+i%2))
				}
				if changes > 0 {
					s.Apply(put, nil, "2")
				}
				if snap := w.take(); len(snap.Instances) != len(recs) {
					b.Fatal(len(snap.Instances))
				}
			}
		})
	}
}

// One change, and all readers of the service have it.
func BenchmarkReaders(b *testing.B) {
	for _, readers := range []int{1, 100} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) {
			ctx := b.Context()
			w, s, _ := newSet(0)
			recs := records10k()
			s.Reset(recs, "1")
			_, seen, err := w.next(ctx, 0)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				s.Apply([]Record{record(recs[i%len(recs)].ID, 20_000+i)}, nil, "2")
				var rev uint64
				for range readers {
					if _, rev, err = w.next(ctx, seen); err != nil {
						b.Fatal(err)
					}
				}
				seen = rev
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	rec := record("10.0.0.7:8897", 7)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decode("svc", rec.ID, rec.Value); err != nil {
			b.Fatal(err)
		}
	}
}

// What comes and goes while nobody reads is forgotten.
func TestNobodyReads(t *testing.T) {
	w, s, _ := newSet(0)
	s.Reset([]Record{record("x", 1)}, "v")
	w.take()
	for i := range 1000 {
		id := fmt.Sprint("y", i)
		s.Apply([]Record{record(id, 1)}, nil, "v")
		s.Apply(nil, []string{id}, "v")
	}
	if n := len(w.stale); n > 1 {
		t.Errorf("%d instances are remembered that came and went", n)
	}
	s.Apply(nil, []string{"x"}, "v")
	if list := w.take().Instances; len(list) != 0 {
		t.Errorf("%v, and nobody is there", list)
	}
}
