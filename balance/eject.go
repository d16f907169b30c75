package balance

import (
	"cmp"
	"log/slog"
	"math"
	"math/rand/v2"
	"time"
)

// Options configure a Balancer. The zero value and nil work.
type Options struct {
	// Eject is how long an instance is left out after a failure: 1 s if 0, never
	// if negative. It doubles with each failure in a row, up to MaxEject, and up to a
	// quarter is added by chance, so that clients do not come back together. A success
	// ends the row. Requests that were under way already when the instance was left
	// out count for nothing.
	Eject time.Duration

	// MaxEject is the longest time to be left out, but for what chance adds: 30 s if 0.
	MaxEject time.Duration

	// Panic is a share of the set without those that are drained, from 0 to 1: 0.5 if 0.
	// Where less than that would be left, none is left out, as the fault is then likelier
	// to be on this side. The last one is never left out, also where Panic is negative.
	Panic float64

	// Logger receives a line when an instance is left out, and when it is well again.
	// slog.Default if nil.
	Logger *slog.Logger
}

func (o *Options) withDefaults() Options {
	if o == nil {
		o = &Options{}
	}
	d := *o
	d.Eject = cmp.Or(d.Eject, time.Second)
	d.MaxEject = max(cmp.Or(d.MaxEject, 30*time.Second), d.Eject)
	d.Panic = cmp.Or(d.Panic, 0.5)
	if d.Logger == nil {
		d.Logger = slog.Default()
	}
	return d
}

// few is up to how many instances the table is made anew at once, so that the next pick
// knows of the failure of this one. In a larger set it makes no difference.
const few = 256

// failed leaves out the instance of n, if it is not already, and was not since n was
// made: of the requests under way when a server dies, only the first one counts.
func (b *Balancer) failed(n *Node, err error) {
	if b.opts.Eject < 0 || n.epoch != n.state.epoch.Load() {
		return
	}
	b.mu.Lock()
	if b.closed || n.out || n.epoch != n.state.epoch.Load() {
		b.mu.Unlock()
		return
	}
	fails := n.fails.Add(1)
	d := b.opts.Eject << min(fails-1, 30)
	if d > b.opts.MaxEject || d < b.opts.Eject {
		d = b.opts.MaxEject
	}
	d = min(d, math.MaxInt64/2) // for good
	d += rand.N(d/4 + 1)
	n.out, n.until = true, b.now()+d
	n.state.epoch.Add(1)
	b.changed()
	b.mu.Unlock()
	b.log.Warn("balance: instance left out", "instance", n.in.ID, "addr", n.in.Addr, "for", d, "failures", fails, "err", err)
}

// succeeded ends the row of failures.
func (b *Balancer) succeeded(n *Node) {
	b.mu.Lock()
	if b.closed || n.fails.Load() == 0 || n.epoch != n.state.epoch.Load() {
		b.mu.Unlock()
		return
	}
	fails := n.fails.Swap(0)
	if n.out {
		n.out = false
		b.changed()
	}
	b.mu.Unlock()
	b.log.Info("balance: instance is well again", "instance", n.in.ID, "addr", n.in.Addr, "failures", fails)
}

// changed has the table made anew. b.mu is held.
func (b *Balancer) changed() {
	if t := b.table.Load(); t != nil && len(t.all) <= few {
		b.rebuild()
	}
	select {
	case b.kick <- struct{}{}: // run has a timer to set, at least
	default:
	}
}
