package balance

import (
	"math"
	"math/rand/v2"
	"time"
)

type p2c struct{}

// P2C picks two instances at random and takes the one that is less loaded: the requests
// in flight, times how long they have taken of late. One pick in four takes into account
// when that was measured: the longer ago the less it counts, so that a slow instance is
// tried again.
func P2C() Policy { return p2c{} }

func (p2c) Measures() bool { return true }

func (p2c) Prepare(set []*Node) func(Request) int {
	n := uint64(len(set))
	if n == 1 {
		return func(Request) int { return 0 }
	}
	states := statesOf(set) // these are all that is looked at: among many, each look costs
	return func(r Request) int {
		x := rand.Uint64()
		i := below(x, n)
		k := below(x<<32, n-1) // other bits, another instance
		if k >= i {
			k++
		}
		if lighter(states[k], states[i], r.now) {
			i = k
		}
		return int(i)
	}
}

func statesOf(set []*Node) []*state {
	states := make([]*state, len(set))
	for i, n := range set {
		states[i] = n.state
	}
	return states
}

// lighter says whether a should be taken where chance would take b. A difference of an
// eighth is none: latencies are never quite the same. While one of them is not known,
// requests in flight decide alone.
func lighter(a, b *state, now time.Duration) bool {
	x, y := a.inFlight.Load()+1, b.inFlight.Load()+1
	la, lb := math.Float64frombits(a.latency.Load()), math.Float64frombits(b.latency.Load())
	if la == 0 || lb == 0 {
		return x < y
	}
	la, lb = float64(x)*la*9/8, float64(y)*lb
	if now == 0 {
		return la < lb
	}
	// A latency counts as if divided by one, and how many memories ago it was measured.
	ageA, ageB := memory+now-time.Duration(a.seen.Load()), memory+now-time.Duration(b.seen.Load())
	return la*float64(ageB) < lb*float64(ageA)
}
