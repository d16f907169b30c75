package balance

import (
	"math"
	"math/rand/v2"
	"time"
)

type p2c struct{}

// P2C picks two instances at random and takes the one that is less loaded: the requests
// in flight, times how long they have taken of late. A latency that was measured a
// while ago counts for less and less, so that a slow instance is tried again.
func P2C() Policy { return p2c{} }

func (p2c) Measures() bool { return true }

func (p2c) Prepare(set []*Node) func(Request) int {
	n := uint64(len(set))
	return func(r Request) int {
		x := rand.Uint64()
		i := below(x, n)
		if n == 1 {
			return 0
		}
		k := below(x<<32, n-1) // other bits, another instance
		if k >= i {
			k++
		}
		if lighter(set[k], set[i], r.now) {
			i = k
		}
		return int(i)
	}
}

// lighter compares by requests in flight alone while one of the two is not known.
func lighter(a, b *Node, now time.Duration) bool {
	x, y := float64(a.inFlight.Load()+1), float64(b.inFlight.Load()+1)
	la, lb := math.Float64frombits(a.latency.Load()), math.Float64frombits(b.latency.Load())
	if la == 0 || lb == 0 {
		return x < y
	}
	return x*la*(float64(memory)+float64(int64(now)-b.seen.Load())) < y*lb*(float64(memory)+float64(int64(now)-a.seen.Load()))
}
