package balance

import (
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/go-rollcall/registry"
)

// A table is what picks are made from. It never changes: there is a new one when the
// set changes, or who of it is left out.
type table struct {
	all   []*Node // of the snapshot, sorted by ID
	nodes []*Node // those to pick from: neither drained nor left out, as long as there are enough
	out   int     // how many of nodes are left out, and in it all the same
	pick  func(Request) int

	states []*state // of nodes, if the policy measures: one look less than at the node
}

// untried returns a node to which r has not been, by preference one that the policy
// picks; nil if there is none.
func (t *table) untried(r Request) *Node {
	if i := untried(t.nodes, t.pick, r); i >= 0 {
		return t.nodes[i]
	}
	if i := untried(t.all, nobody, r); i >= 0 {
		return t.all[i]
	}
	return nil
}

// untried asks pick a few times for one that r has not tried, and then takes the first
// one in set. It looks at no more than r has tried, and one.
func untried(set []*Node, pick func(Request) int, r Request) int {
	start := 0
	for range 4 {
		i := pick(r)
		if uint(i) >= uint(len(set)) {
			break
		}
		if !r.tried(set[i]) {
			return i
		}
		start = i
	}
	for k := range min(len(set), len(r.Tried)+1) {
		if i := (start + k) % len(set); !r.tried(set[i]) {
			return i
		}
	}
	return -1
}

func nobody(Request) int { return -1 }

// part returns set[at[0]], set[at[1]], …
func part(set []*Node, at []int) []*Node {
	nodes := make([]*Node, len(at))
	for i, k := range at {
		nodes[i] = set[k]
	}
	return nodes
}

// run makes the table anew when the set changes, and when somebody comes back. However
// long that takes and however often the set changes, it takes a fifth of one core at
// most.
func (b *Balancer) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		changed := b.view.Changed()
		began := time.Now()
		b.mu.Lock()
		wait := b.rebuild()
		b.mu.Unlock()
		timer.Reset(4 * time.Since(began))
		select {
		case <-timer.C:
		case <-b.ctx.Done():
			return
		}
		timer.Reset(wait)
		select {
		case <-changed:
		case <-b.kick:
		case <-timer.C:
		case <-b.ctx.Done():
			return
		}
	}
}

// rebuild makes the table of the newest snapshot, and returns when to do so again if
// nothing happens. b.mu is held.
func (b *Balancer) rebuild() (wait time.Duration) {
	const never = 24 * time.Hour
	snap := b.view.Snapshot()
	if b.closed || snap.Confirmed.IsZero() {
		return never
	}
	old := b.table.Load()
	if old == nil {
		old = &table{}
	}
	t := &table{all: b.merge(old.all, snap.Instances)}
	now, out := b.now(), 0
	wait = never
	t.nodes = but(t.all, (*Node).drained)
	if len(t.nodes) == 0 {
		t.nodes = t.all
	}
	for _, n := range t.nodes {
		if n.left(now) {
			out++
		}
	}
	for _, n := range t.all {
		if n.left(now) {
			wait = min(wait, n.until-now)
		}
	}
	if stay := len(t.nodes) - out; out > 0 && stay > 0 && float64(stay) >= b.opts.Panic*float64(len(t.nodes)) {
		t.nodes, out = but(t.nodes, func(n *Node) bool { return n.out }), 0
	}
	t.out = out
	switch {
	case len(t.nodes) == 0:
		t.pick = nobody
	case slices.Equal(t.nodes, old.nodes) && t.out == old.out: // one that is newly left out is another node
		t.nodes, t.states, t.pick = old.nodes, old.states, old.pick
	default:
		t.pick = b.policy.Prepare(t.nodes)
		if b.measures {
			t.states = statesOf(t.nodes)
		}
	}
	b.table.Store(t)
	return wait
}

// but returns set without some, which is set itself if there are none.
func but(set []*Node, some func(*Node) bool) []*Node {
	first := slices.IndexFunc(set, some)
	if first < 0 {
		return set
	}
	rest := append(make([]*Node, 0, len(set)-1), set[:first]...)
	for _, n := range set[first+1:] {
		if !some(n) {
			rest = append(rest, n)
		}
	}
	return rest
}

// left reports whether n is left out, and ends that if it is time. b.mu is held.
func (n *Node) left(now time.Duration) bool {
	n.out = n.out && n.until > now
	return n.out
}

// merge returns a node for each instance, which is that of before where nothing about
// it has changed. Both lists are sorted by ID.
func (b *Balancer) merge(old []*Node, list []registry.Instance) []*Node {
	all := make([]*Node, len(list))
	for i := range list {
		in := &list[i]
		for len(old) > 0 && old[0].in.ID != in.ID && old[0].in.ID < in.ID {
			old = old[1:]
		}
		var n *Node
		if len(old) > 0 && old[0].in.ID == in.ID && old[0].in.Addr == in.Addr {
			n = old[0]
		}
		switch {
		case n == nil:
			n = &Node{in: *in, weight: weight(in), state: &state{b: b}}
		case n.epoch != n.state.epoch.Load() || !sameMeta(n.in.Meta, in.Meta):
			n = &Node{in: *in, weight: weight(in), state: n.state, epoch: n.state.epoch.Load()}
		}
		all[i] = n
	}
	return all
}

// sameMeta first looks whether the two are one: in snapshots of one watch they are.
func sameMeta(a, b map[string]string) bool {
	return len(a) == 0 && len(b) == 0 || reflect.ValueOf(a).UnsafePointer() == reflect.ValueOf(b).UnsafePointer() || maps.Equal(a, b)
}
