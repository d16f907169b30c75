// Package balance picks, for each request, one of the instances that a
// [registry.View] shows.
//
//	view, err := registry.Follow(ctx, reg, "go_servers", nil)
//	…
//	b := balance.New(view, balance.P2C(), nil)
//	defer b.Close()
//	…
//	p, err := b.Pick(ctx)
//	if err != nil { return err }
//	err = ask(p.Instance().Addr)
//	p.Done(err)
//
// A pick takes no lock, allocates nothing, and costs the same among ten instances as
// among ten thousand: what a [Policy] needs is prepared when the set changes, aside.
//
// An instance whose requests fail is left out for a while, which doubles with each
// failure in a row, and comes back by itself: see [Options]. One with a "weight" of 0 in
// its Meta is drained: no policy picks it, unless all are. Both remain as a last resort,
// for a request that has tried the others.
package balance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-rollcall/registry"
)

// ErrNone is the cause of a pick for which there is no instance: the service has
// none, or the request has tried each.
var ErrNone = errors.New("no instance")

// A View is what is followed: a [registry.View], or something that does the same.
type View interface {
	Service() string
	Snapshot() registry.Snapshot
	Changed() <-chan struct{}
	Wait(context.Context) error
}

// A Request is what a pick may depend on.
type Request struct {
	// Key is what [Hash] goes by: requests with the same key go to the same instance.
	Key string

	// Tried are the IDs of instances that this request has been to already: it goes
	// to another.
	Tried []string

	now time.Duration // of one that is timed, else 0
}

func (r Request) tried(n *Node) bool { return slices.Contains(r.Tried, n.in.ID) }

// A Picked is the instance for one request.
type Picked struct {
	n     *Node
	start time.Duration // when, or 0 if it is not timed
}

// Instance returns the instance. Its Meta is shared: it must not be modified.
func (p Picked) Instance() registry.Instance { return p.n.in }

// Done ends the request: nil if the instance did its part, also by an answer that the
// application does not like, else why it did not. Either Done or Drop must be called
// exactly once for each pick.
func (p Picked) Done(err error) { p.n.state.done(p, err) }

// Answered says that the answer has begun: what the request takes from here on, be it the
// hour of a stream, is not the instance's latency. Without it the latency is the time until
// Done. It is called before Done or Drop, which is still to be called, on the same variable.
func (p *Picked) Answered() {
	if p.start != 0 {
		p.n.state.measure(p.start, p.n.state.b.now(), false)
		p.start = 0
	}
}

// Drop ends a request that says nothing of the instance, as it was not made, or the
// caller gave up before there was time for an answer: it counts neither as a success nor
// as a failure.
func (p Picked) Drop() { p.n.state.end() }

// A Balancer picks among the instances of one service. All methods are safe for
// concurrent use.
type Balancer struct {
	view   View
	policy Policy
	opts   Options
	log    *slog.Logger
	began  time.Time // time is measured from here

	measures bool
	_        [64]byte // the rest changes, what is above does not
	table    atomic.Pointer[table]
	_        [64]byte

	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	work   sync.WaitGroup
	kick   chan struct{} // there is something to do for run

	mu     sync.Mutex // guards the making of tables, and what state says it does
	closed bool
}

// New returns a Balancer among the instances that view shows; a nil policy is [P2C]. The
// caller closes it, before the view.
func New(view View, policy Policy, opts *Options) *Balancer {
	if policy == nil {
		policy = P2C()
	}
	o := opts.withDefaults()
	ctx, cancel := context.WithCancel(context.Background())
	b := &Balancer{
		ctx: ctx, view: view, policy: policy, opts: o, log: o.Logger.With("service", view.Service()), began: time.Now(),
		measures: policy.Measures(), cancel: cancel, kick: make(chan struct{}, 1),
	}
	b.work.Go(b.run)
	return b
}

// Pick is PickFor of a request about which nothing is known.
func (b *Balancer) Pick(ctx context.Context) (Picked, error) {
	if t := b.table.Load(); t != nil && !b.measures {
		if i := t.pick(Request{}); uint(i) < uint(len(t.nodes)) {
			return Picked{n: t.nodes[i]}, nil
		}
	}
	return b.PickFor(ctx, Request{})
}

// PickFor returns an instance for r. It waits for the view's first set, within ctx; the
// error then says why there is none. After that it waits for nothing: where there is
// no instance that r has not tried, the error wraps [ErrNone], and says what the
// view knows. An outage of the registry is no error: the last known set is used.
func (b *Balancer) PickFor(ctx context.Context, r Request) (Picked, error) {
	t := b.table.Load()
	if t == nil || len(t.nodes) == 0 {
		var err error
		if t, err = b.first(ctx); err != nil {
			return Picked{}, err
		}
	}
	if b.measures && rand.Uint64()>>61 == 0 {
		r.now = b.now()
	}
	i := t.pick(r)
	if uint(i) >= uint(len(t.nodes)) || len(r.Tried) > 0 {
		n := t.untried(r)
		if n == nil {
			return Picked{}, b.fail(fmt.Errorf("%w: each of %d was tried", ErrNone, len(t.all)))
		}
		return b.begin(n, n.state, r.now), nil
	}
	if b.measures {
		return b.begin(t.nodes[i], t.states[i], r.now), nil
	}
	return Picked{n: t.nodes[i]}, nil
}

// begin counts a request to n, whose state is s. One in eight is timed, since looking at
// the clock is half of what a pick costs; and while no latency is known, the first few.
func (b *Balancer) begin(n *Node, s *state, now time.Duration) Picked {
	if b.measures {
		if first := s.inFlight.Add(1) <= 4; first && now == 0 && s.latency.Load() == 0 {
			now = b.now()
		}
	}
	return Picked{n, now}
}

func (b *Balancer) now() time.Duration { return max(time.Since(b.began), 1) }

// first waits for the first set, and returns its table if there is anybody in it.
func (b *Balancer) first(ctx context.Context) (*table, error) {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(b.ctx, cancel)()
	if err := b.view.Wait(waiting); err != nil && b.ctx.Err() == nil {
		return nil, b.fail(err)
	}
	snap := b.view.Snapshot() // before the table, which is then of this one or of a newer one
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil, b.fail(fmt.Errorf("the balancer is %w", registry.ErrClosed))
	}
	b.rebuild()
	t := b.table.Load()
	b.mu.Unlock()
	switch {
	case t != nil && len(t.nodes) > 0:
		return t, nil
	case snap.Err != nil:
		return nil, b.fail(fmt.Errorf("%w, as far as is known: %w", ErrNone, snap.Err))
	default:
		return nil, b.fail(fmt.Errorf("%w is registered", ErrNone))
	}
}

func (b *Balancer) fail(err error) error {
	return fmt.Errorf("balance: service %q: %w", b.view.Service(), err)
}

// Close ends the Balancer, and returns when its goroutine has ended. Picks after it
// fail with [registry.ErrClosed]; requests under way are unaffected.
func (b *Balancer) Close() {
	b.mu.Lock()
	b.closed = true
	b.table.Store(nil)
	b.mu.Unlock()
	b.cancel()
	b.work.Wait()
}
