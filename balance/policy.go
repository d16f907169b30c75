package balance

import (
	"math/bits"
	"math/rand/v2"
	"sync/atomic"
)

// A Policy decides who gets a request. Each Balancer has its own.
type Policy interface {
	// Prepare returns a function that picks among set: it returns the index of one,
	// or something that is no index if it has nobody. The function is called
	// concurrently, for each request, and should neither lock, nor allocate, nor take
	// longer for a larger set; Prepare itself may, as it is called when the set has
	// changed, and not concurrently. Functions from earlier calls are still in use
	// then.
	//
	// The set is not empty, sorted by ID, and must not be modified. Instances that are
	// drained are in it only if all are; those that are left out because they failed
	// only if too few would remain (see [Options.Panic]). A function that returns an
	// instance that the request has tried is asked again, a few times; another is then
	// taken in its place.
	Prepare(set []*Node) func(Request) int

	// Measures says whether the policy needs [Node.InFlight] and [Node.Latency]: to
	// keep them costs a pick some 40 ns. It is called once.
	Measures() bool
}

type random struct{}

// Random picks any instance, each as likely.
func Random() Policy { return random{} }

func (random) Measures() bool { return false }

func (random) Prepare(set []*Node) func(Request) int {
	n := uint64(len(set))
	return func(Request) int { return int(below(rand.Uint64(), n)) }
}

// below scales x, of 64 random bits, to less than n.
func below(x, n uint64) uint64 {
	hi, _ := bits.Mul64(x, n)
	return hi
}

type roundRobin struct {
	_    [64]byte
	next atomic.Uint32
	_    [60]byte
}

// RoundRobin picks the instances one after the other. It begins at any of them: programs
// that start together do not all go to the same one.
func RoundRobin() Policy {
	p := &roundRobin{}
	p.next.Store(rand.Uint32())
	return p
}

func (*roundRobin) Measures() bool { return false }

func (p *roundRobin) Prepare(set []*Node) func(Request) int {
	n := uint32(len(set))
	return func(Request) int { return int(p.next.Add(1) % n) }
}
