package balance

import (
	"math"
	"math/rand/v2"
)

type p2c struct{}

// P2C picks two instances at random and takes the one that is less loaded: the requests
// in flight, times how long they have taken of late. One pick in eight takes into account
// when that was measured: the longer ago the less it counts, so that an instance which was
// slow, be it once and a hundred times slower, is tried again.
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
		if lighter(states[k], states[i], r.now > 0) {
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
// requests in flight decide alone. aged says whether it counts when they were measured.
func lighter(a, b *state, aged bool) bool {
	x, y := a.inFlight.Load()+1, b.inFlight.Load()+1
	la, lb := math.Float64frombits(a.latency.Load()), math.Float64frombits(b.latency.Load())
	if la == 0 || lb == 0 {
		return x < y
	}
	la, lb = float64(x)*la*9/8, float64(y)*lb
	if !aged {
		return la < lb
	}
	// A latency counts for half with each memory since it was measured.
	return la < lb*math.Exp2(float64(b.seen.Load()-a.seen.Load())/float64(memory))
}
