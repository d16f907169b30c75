package balance_test

import (
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-rollcall/registry/balance"
)

// TestShares: what each instance gets of 100,000 picks is within 2 % of its share.
func TestShares(t *testing.T) {
	const picks = 100_000
	for _, tt := range []struct {
		name   string
		policy balance.Policy
		meta   [][]string
		shares []float64
		r      func(int) balance.Request
	}{
		{"random", balance.Random(), make([][]string, 3), []float64{1, 1, 1}, plain},
		{"round robin", balance.RoundRobin(), make([][]string, 7), []float64{1, 1, 1, 1, 1, 1, 1}, plain},
		{"hash", balance.Hash(), make([][]string, 3), []float64{1, 1, 1}, keyed},
		{"weighted", balance.Weighted(), [][]string{
			{"weight", "5"}, {"weight", "0"}, {}, {"weight", "0.5"}, {"weight", "many"}, {"weight", "-3"}, {"weight", "100"},
		}, []float64{5, 0, 1, .5, 1, 1, 100}, plain},
		{"all drained", balance.Weighted(), [][]string{{"weight", "0"}, {"weight", "0"}}, []float64{1, 1}, plain},
		{"one", balance.Weighted(), make([][]string, 1), []float64{1}, plain},
		{"zone", balance.Zone("a", balance.RoundRobin()), [][]string{{"zone", "a"}, {"zone", "b"}, {}, {"zone", "a"}}, []float64{1, 0, 0, 1}, plain},
		{"zone, weighted", balance.Zone("a", balance.Weighted()), [][]string{
			{"zone", "a", "weight", "3"}, {"zone", "b"}, {"zone", "a"},
		}, []float64{3, 0, 1}, plain},
		{"zone, all local ones drained", balance.Zone("a", balance.Weighted()), [][]string{
			{"zone", "a", "weight", "0"}, {"zone", "b"}, {},
		}, []float64{0, 1, 1}, plain},
		{"random, drained", balance.Random(), [][]string{{}, {"weight", "0"}, {"weight", "2"}}, []float64{1, 0, 1}, plain},
		{"round robin, drained", balance.RoundRobin(), [][]string{{}, {"weight", "0.0"}, {}}, []float64{1, 0, 1}, plain},
		{"hash, drained", balance.Hash(), [][]string{{}, {"weight", "0"}, {}}, []float64{1, 0, 1}, keyed},
		{"p2c, all drained but one", balance.P2C(), [][]string{{"weight", "0"}, {"weight", "0"}, {"weight", "2"}}, []float64{0, 0, 1}, plain},
		{"zone without anybody", balance.Zone("c", balance.Random()), [][]string{{"zone", "a"}, {"zone", "b"}}, []float64{1, 1}, plain},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene(t)
			for i, meta := range tt.meta {
				s.put(id(i), meta...)
			}
			b := s.balancer(len(tt.meta), tt.policy, nil)
			got := s.count(b, picks, tt.r)
			sum := 0.
			for _, share := range tt.shares {
				sum += share
			}
			for i, share := range tt.shares {
				want := share / sum * picks
				if off := math.Abs(float64(got[id(i)]) - want); off > want*0.02 {
					t.Errorf("%s: %d picks, want %.0f: %.2f %% off", id(i), got[id(i)], want, 100*off/want)
				}
			}
			t.Log(got)
		})
	}
}

// TestWeightedIsSmooth: in any 50 picks that follow each other, each instance gets its
// share but for a few.
func TestWeightedIsSmooth(t *testing.T) {
	s := newScene(t)
	weights := []float64{5, 3, 1, 1}
	for i, w := range weights {
		s.put(id(i), "weight", fmt.Sprint(w))
	}
	b := s.balancer(len(weights), balance.Weighted(), nil)
	var all []string
	for range 5000 {
		all = append(all, s.pick(b, balance.Request{}))
	}
	worst := 0.
	for from := range len(all) - 50 {
		got := map[string]int{}
		for _, id := range all[from : from+50] {
			got[id]++
		}
		for i, w := range weights {
			worst = max(worst, math.Abs(float64(got[id(i)])-5*w))
		}
	}
	t.Logf("off by %.0f at most", worst)
	if worst > 3 {
		t.Errorf("an instance got %.0f more or less than its share of 50 picks", worst)
	}
}

// TestBeginsAnywhere: the first picks of many clients are spread.
func TestBeginsAnywhere(t *testing.T) {
	for name, policy := range map[string]func() balance.Policy{"round robin": balance.RoundRobin, "weighted": balance.Weighted} {
		t.Run(name, func(t *testing.T) {
			s := of(t, 3)
			got := map[string]int{}
			for range 100 { // one in three, more or less: 10 are 5 standard deviations less
				got[s.pick(s.balancer(3, policy(), nil), balance.Request{})]++
			}
			for i := range 3 {
				if got[id(i)] < 10 {
					t.Errorf("the first picks of 100 clients: %v", got)
				}
			}
		})
	}
}

// TestMetadataChanges: picks go by the newest metadata, and return it.
func TestMetadataChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := of(t, 2)
		b := s.balancer(2, balance.Weighted(), nil)
		s.pick(b, balance.Request{})
		s.put(id(1), "weight", "3")
		synctest.Wait()
		if got := s.count(b, 400, plain); got[id(1)] < 298 || got[id(1)] > 302 {
			t.Errorf("weights 1 and 3: %v", got)
		}
		if in := s.take(b, id(1)).Instance(); in.Meta["weight"] != "3" {
			t.Errorf("picked %+v", in)
		}
	})
}

// TestHashFavoursNobody: who comes first by ID has no advantage.
func TestHashFavoursNobody(t *testing.T) {
	const n, keys = 10_000, 200_000
	s := of(t, n)
	first := 0
	for id, c := range s.count(s.balancer(n, balance.Hash(), nil), keys, keyed) {
		if id < fmt.Sprintf("x%05d", n/2) {
			first += c
		}
	}
	t.Logf("half of the instances got %d of %d", first, keys)
	if off := math.Abs(float64(first)-keys/2) / (keys / 2); off > 0.01 {
		t.Errorf("half of the instances got %d of %d", first, keys)
	}
}

// TestWeightedAtTheExtremes: one instance outweighs 10,000, or is outweighed.
func TestWeightedAtTheExtremes(t *testing.T) {
	s := of(t, 10_000)
	s.put(id(777), "weight", "10000")
	s.put(id(9_999), "weight", "1e300")
	s.put(id(9_999), "weight", "0")
	b := s.balancer(10_000, balance.Weighted(), nil)
	got := s.count(b, 200_000, plain)
	if n := got[id(777)]; n < 99_000 || n > 101_000 {
		t.Errorf("half of the weight got %d of 200,000", n)
	}
	if n := got[id(9_999)]; n > 0 {
		t.Errorf("a drained instance got %d", n)
	}
	if len(got) < 9_990 {
		t.Errorf("%d of 9,999 got something", len(got))
	}
}

// TestHashMovesItsShare: a change of one instance moves the keys that it had or gets,
// and no others; programs with other histories agree.
// astray is a policy that picks what is not there, as one may that has nobody.
type astray struct{}

func (astray) Measures() bool { return false }
func (astray) Prepare(set []*balance.Node) func(balance.Request) int {
	return func(balance.Request) int { return len(set) }
}

func TestZoneOfAPolicyThatHasNobody(t *testing.T) {
	s := newScene(t)
	s.put(id(0), "zone", "a")
	s.put(id(1), "zone", "b")
	b := s.balancer(2, balance.Zone("a", astray{}), nil)
	if got := s.pick(b, balance.Request{}); got == "" {
		t.Error("nobody was picked")
	}
}

func TestHashMovesItsShare(t *testing.T) {
	const keys = 10_000
	for _, n := range []int{2, 10, 100} {
		s := of(t, n)
		b := s.balancer(n, balance.Hash(), nil)
		at := func(b *balance.Balancer) []string {
			var ids []string
			for i := range keys {
				ids = append(ids, s.pick(b, keyed(i)))
			}
			return ids
		}
		before := at(b)
		victim := id(n / 2)
		s.store.Remove(service, victim)
		after := at(s.balancer(n-1, balance.Hash(), nil))
		had, moved := 0, 0
		for i := range before {
			if before[i] == victim {
				had++
			}
			if before[i] != after[i] {
				moved++
			}
			if before[i] != victim && before[i] != after[i] {
				t.Fatalf("of %d: key %d moved from %s to %s, when %s went", n, i, before[i], after[i], victim)
			}
		}
		s.put(victim)
		s.shown(n)
		again := at(s.balancer(n, balance.Hash(), nil))
		for i := range before {
			if before[i] != again[i] {
				t.Fatalf("of %d: key %d is at %s, and by a program with another history at %s", n, i, before[i], again[i])
			}
		}
		t.Logf("1 of %d went: %.2f %% of the keys moved, its share is %.2f %%", n, 100*float64(moved)/keys, 100/float64(n))
		if moved != had || float64(moved) > 1.5*keys/float64(n) {
			t.Errorf("of %d: %d keys moved, and the instance had %d of %d", n, moved, had, keys)
		}
	}
}

// TestZoneInAPanic: where so many are left out that all are used again, a zone in which
// everybody is left out is not the only one that is; and it is again, once somebody is back.
func TestZoneInAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.put(id(0), "zone", "a")
		s.put(id(1), "zone", "a")
		s.put(id(2), "zone", "b")
		b := s.balancer(3, balance.Zone("a", balance.RoundRobin()), nil)
		var got map[string]int
		for range 2 { // at first those of the zone are there
			got = map[string]int{}
			for range 30 {
				p, err := b.Pick(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if got[p.Instance().ID]++; p.Instance().ID == id(2) {
					p.Done(nil)
				} else {
					p.Done(errBroken)
				}
			}
		}
		if got[id(2)] != 10 {
			t.Errorf("all of the zone fail: %v", got)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := s.count(b, 30, plain); got[id(2)] > 0 {
			t.Errorf("the zone is back: %v", got)
		}
	})
}
