package processes_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/go-rollcall/registry/internal/measured"
	"github.com/go-rollcall/registry/internal/testserver"
)

// rate is how many requests begin in a second. Two cores bear it three times, beside
// three registries and their time servers.
const rate = 200

// Under load, too, not one request fails.
func TestUnderLoad(t *testing.T) {
	path := build(t)
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel() // one after the other they would take five minutes
			w := newWorld(t, path, b, "--concurrency", "64", "--rate", fmt.Sprint(rate))
			w.play(t, []scene{
				{"load-killed", killed},
				{"load-asked-to-end", drained},
				{"load-registry-away-for-a-minute", registryAway},
				{"load-replaced-one-by-one", replaced},
			})
			w.get.loaded(t)
		})
	}
}

// registryAway: the servers live, and are asked all the while.
func registryAway(w *world, t, _ *testing.T) {
	w.all(t, slack)
	down := time.Now()
	w.reg.Terminate(t)
	w.seen.quiet(time.Minute)
	w.reg.Start(t)
	up := time.Now()
	bound := max(back, w.anew+w.dmax) + slack
	there := w.seen.until(t, bound, w.addrs...)
	measured.Duration(t, "registry away for", "", up.Sub(down))
	measured.Duration(t, "all seen again, confirmed, after", "3/2 B + T/3", there.at.Sub(up))
	w.seen.quiet(w.dmax) // until what the registry had stored of sessions has run out
	w.all(t, bound)
	w.noted(t, down, rate*30)
}

// replaced: each server goes when one on another address has come.
func replaced(w *world, t, owner *testing.T) {
	w.all(t, slack)
	fresh, err := testserver.FreeAddrs(len(w.addrs))
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	for i, old := range w.serves {
		gone := w.addrs[i]
		w.addrs[i] = fresh[i]
		w.serve(t, owner, i)
		w.seen.until(t, slack, append(slices.Clone(w.addrs), gone)...)
		old.Terminate(t)
		w.seen.until(t, slack, w.addrs...)
		old.ended(t)
	}
	measured.Duration(t, "three replaced within", "", time.Since(begin))
	for _, r := range w.get.since(t, time.Now(), 50) {
		if !slices.Contains(fresh, r.Addr) {
			t.Errorf("request %d was answered by %s, which has ended", r.Request, r.Addr)
		}
	}
	w.noted(t, begin, 50)
}

// noted notes the requests since begin, of which there must be n. How long one takes is
// not promised where all servers that are asked live: that is the machine's doing.
func (w *world) noted(t *testing.T, begin time.Time, n int) {
	t.Helper()
	slowest, vain := time.Duration(0), 0
	for _, r := range w.get.since(t, begin, n) {
		slowest = max(slowest, r.took())
		vain += min(len(r.Failed), 1)
		for _, f := range r.Failed {
			t.Logf("request %d, of %s, took %v: %s gave no answer: %s", r.Request, r.Start.Format("15:04:05.000"), r.took(), f.Addr, f.Error)
		}
	}
	measured.Duration(t, "slowest request meanwhile", "", slowest)
	measured.Count(t, "requests that asked another server first, in vain", "", vain)
}

// loaded checks, when all is over, that it was a load.
func (g *getter) loaded(t *testing.T) {
	t.Helper()
	var starts, ends []time.Time
	vain := 0
	for _, r := range g.lines {
		starts, ends = append(starts, r.Start), append(ends, r.Start.Add(r.took()))
		vain += len(r.Failed)
	}
	slices.SortFunc(starts, time.Time.Compare)
	slices.SortFunc(ends, time.Time.Compare)
	most := 0
	for i, over := 0, 0; i < len(starts); i++ {
		for ends[over].Before(starts[i]) {
			over++
		}
		most = max(most, i+1-over)
	}
	took := starts[len(starts)-1].Sub(starts[0])
	got := float64(len(starts)) / took.Seconds()
	t.Logf("%.0f requests a second for %v, up to %d under way at a time; %d asked another server first, in vain", got, took.Round(time.Second), most, vain)
	if got < rate/2 {
		t.Errorf("%.0f requests a second, want %d: that is not the load that it should be", got, rate)
	}
}
