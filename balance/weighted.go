package balance

import (
	"math"
	"math/rand/v2"
	"sort"
	"strconv"
	"sync/atomic"

	"github.com/go-rollcall/registry"
)

type weighted struct {
	_    [64]byte
	next atomic.Uint64
	_    [56]byte
}

// Weighted picks each instance in proportion to the "weight" in its Meta, a number: 1 if
// there is none or it cannot be read; 0 drains the instance, whatever the policy. The
// picks are spread evenly: what an instance gets of any that follow each other differs from
// its share by a few at most. They begin anywhere, as with [RoundRobin].
func Weighted() Policy {
	p := &weighted{}
	p.next.Store(rand.Uint64())
	return p
}

func (*weighted) Measures() bool { return false }

// weight reads that of an instance, up to 1e9.
func weight(in *registry.Instance) float64 {
	text, ok := in.Meta["weight"]
	if !ok {
		return 1
	}
	w, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(w) || w < 0 {
		return 1
	}
	return min(w, 1e9)
}

// Prepare lays the weights end to end on a line of length 2^64. The multiples of the
// golden ratio, as fractions, are spread evenly on it; a guide says for each of as many
// equal parts as there are instances, or more, with which of them it begins.
func (p *weighted) Prepare(set []*Node) func(Request) int {
	ends := make([]float64, len(set))
	sum := 0.
	for i, n := range set {
		if sum += n.weight; set[0].drained() { // then all are
			sum++
		}
		ends[i] = sum
	}
	last := make([]uint64, len(set)) // of the line, what is each one's last point
	for i, end := range ends {
		if f := end / sum * (1 << 64); f < 1<<64 {
			last[i] = uint64(f)
		} else {
			last[i] = math.MaxUint64
		}
	}
	last[len(last)-1] = math.MaxUint64
	shift := 64
	for 1<<(64-shift) < len(set) {
		shift--
	}
	guide := make([]uint32, 1<<(64-shift)+1)
	for g, i := 0, 0; g < len(guide); g++ {
		for i < len(set)-1 && g > 0 && last[i] < uint64(g)<<shift {
			i++
		}
		guide[g] = uint32(i)
	}
	guide[len(guide)-1] = uint32(len(set) - 1)
	return func(Request) int {
		x := p.next.Add(1) * golden
		g := x >> shift
		lo, hi := int(guide[g]), int(guide[g+1])
		for tries := 0; lo < hi && last[lo] < x; tries++ {
			if tries == 4 { // very unequal weights
				lo += sort.Search(hi-lo, func(k int) bool { return last[lo+k] >= x })
				break
			}
			lo++
		}
		return lo
	}
}

const golden = 0x9E3779B97F4A7C15 // 2^64 divided by the golden ratio
