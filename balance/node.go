package balance

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/go-rollcall/registry"
)

// A Node is an instance as a Policy sees it.
type Node struct {
	in     registry.Instance
	weight float64
	epoch  uint32 // the state's, when the node was made
	*state
}

// drained reports whether n is to get nothing.
func (n *Node) drained() bool { return n.weight == 0 }

// Instance returns the instance. Its Meta is shared: it must not be modified.
func (n *Node) Instance() registry.Instance { return n.in }

// A state is what a Balancer knows of an instance, as long as ID and address stay: a
// change of metadata makes a new Node with the same state. It fills a line of the
// processor's cache, and no more: among thousands, lines are what a pick costs.
type state struct {
	b *Balancer

	inFlight atomic.Int64
	latency  atomic.Uint64 // the bits of a float64, in ns; 0 if not known
	seen     atomic.Int64  // when latency was measured last; while there is none, when the first request ended

	fails atomic.Uint32 // in a row; written under b.mu
	epoch atomic.Uint32 // moves when the instance is left out; written under b.mu
	out   bool          // it is left out, until
	until time.Duration
}

// InFlight returns how many requests are under way, if the policy measures.
func (s *state) InFlight() int { return int(s.inFlight.Load()) }

// Latency returns how long requests have taken of late, if the policy measures; 0 if
// none has ended yet.
func (s *state) Latency() time.Duration {
	return time.Duration(math.Float64frombits(s.latency.Load()))
}

// end counts one request less under way.
func (s *state) end() {
	if s.b.measures {
		s.inFlight.Add(-1)
	}
}

func (s *state) done(p Picked, err error) {
	s.end()
	if p.start != 0 {
		s.measure(p.start, s.b.now(), err != nil)
	}
	switch {
	case err != nil:
		s.b.failed(p.n, err)
	case s.fails.Load() != 0:
		s.b.succeeded(p.n)
	}
}

// memory is how long a measured latency counts in full, more or less.
const memory = 5 * time.Second

// measure takes a request into the moving average. It counts for a quarter, and for
// more the longer there was none. What began before the first had ended says nothing: it
// made its connection. A failure may be quick: it improves nothing, and says nothing where
// nothing is known. Of two at the same time one may be lost.
func (s *state) measure(start, end time.Duration, failed bool) {
	took, old := max(float64(end-start), 1), math.Float64frombits(s.latency.Load())
	if old == 0 {
		if failed {
			return
		}
		if first := s.seen.Load(); first == 0 || int64(start) < first {
			s.seen.CompareAndSwap(0, int64(end))
			return
		}
	}
	if failed {
		took = max(took, old)
	}
	if old != 0 {
		idle := float64(end) - float64(s.seen.Load())
		took = old + (took-old)*max(1./4, idle/(idle+float64(memory)))
	}
	s.latency.Store(math.Float64bits(took))
	s.seen.Store(int64(end))
}
