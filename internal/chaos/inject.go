package chaos

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
)

// inject makes the faults of a round, and returns when all are over and undone.
func (r *run) inject(faults []Fault) {
	began := r.now()
	var wg sync.WaitGroup
	i := &injection{r: r, began: began, faults: faults}
	for _, f := range faults {
		if f.Kind.layer() != serverLayer {
			wg.Go(func() {
				if r.wait(began + f.At - r.now()) {
					r.logs.say("%v: begins", f)
					i.hurtClient(f)
					r.logs.say("%v: over", f)
				}
			})
		}
	}
	wg.Go(func() {
		// One after the other: what ends a fault may take longer than it was given.
		for _, f := range faults {
			if f.Kind.layer() == serverLayer && r.wait(began+f.At-r.now()) {
				r.logs.say("%v: begins", f)
				if err := attempt(r.t, func(testing.TB) { i.hurtServers(f) }); err != nil {
					r.violated("the servers, and not the library: %v: %v", f, err)
				}
				r.logs.say("%v: over", f)
			}
		}
	})
	r.wait(storm)
	wg.Wait()
	for _, c := range r.clients {
		c.way().heal()
		i.clean(c.way())
	}
}

// clean ends the faults of a wire.
func (i *injection) clean(l link) {
	r := i.r
	broken, err := l.cleanWire()
	if broken {
		r.counts.add("wires-restarted", 1)
		r.losses.end(r.losses.begin(-1, r.now()-5*time.Second), r.now()+recovery)
	}
	if err != nil {
		r.violated("Toxiproxy, and not the library: %v", err)
	}
}

// An injection is the faults of a round while they are made.
type injection struct {
	r      *run
	began  time.Duration
	faults []Fault

	mu     sync.Mutex
	victim []int // members that cannot be asked
}

func (c *client) way() link {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.link
}

func (c *client) parts() (link, registry.Backend) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.link, c.backend
}

// member is one that is no victim just now, if there is one.
func (i *injection) member() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	m := 0
	for slices.Contains(i.victim, m) && m < len(i.victim) {
		m++
	}
	return m % 3
}

// harmless reports whether a fault of a link is so short that no session is lost for
// it, and there is no other in that time.
func (i *injection) harmless(f Fault) bool {
	ttl := i.r.w.ttl
	switch {
	case f.Kind == Delay:
	case f.Length > ttl/5, f.Kind == Throttle, f.Kind == Expire, f.Kind == Crash:
		return false
	}
	for _, o := range i.faults {
		if o != f && o.Kind.layer() != serverLayer && o.Kind != Remove && o.Kind != Spoil && o.Victim == f.Victim && o.At < f.At+f.Length+ttl && f.At < o.At+o.Length+ttl {
			return false
		}
	}
	return true
}

func (i *injection) hurtClient(f Fault) {
	r := i.r
	r.counts.add(f.Kind.String(), 1)
	if f.Kind == Remove || f.Kind == Spoil {
		i.meddle(f)
		return
	}
	c := r.clients[f.Victim]
	if !i.harmless(f) && f.Kind != Leave {
		s := r.losses.begin(c.n, r.now())
		defer func() { r.losses.end(s, r.now()+recovery) }()
	}
	l, b := c.parts()
	switch f.Kind {
	case Cut:
		l.cut()
	case Freeze:
		l.freeze()
	case DropReplies:
		l.dropReplies()
	case Delay, DropHalf, Throttle:
		if err := l.spoilWire(f.Kind); err != nil {
			r.violated("Toxiproxy, and not the library: %v: %v", f, err)
		}
	case Expire:
		if err := r.w.expire(i.member(), l, b); err != nil {
			r.counts.add("expire-failed", 1)
		}
	case Crash, Leave:
		select {
		case c.orders <- f.Kind:
		default:
		}
	}
	r.wait(f.Length)
	switch f.Kind {
	case Cut, Freeze, DropReplies:
		l.heal()
	case Delay, DropHalf, Throttle:
		i.clean(l)
	}
}

// meddle does to a record what somebody else might.
func (i *injection) meddle(f Fault) {
	r := i.r
	at := r.keys[f.Victim]
	if f.Kind == Spoil {
		o := &op{kind: opSpoil, key: f.Victim, client: -1, call: r.now()}
		err := r.w.plant(i.member(), at, []byte(`{"addr":`))
		o.ret = r.now()
		if err != nil {
			o.maybe, o.ret = true, 0
			r.counts.add("spoil-failed", 1)
		}
		r.history.add(o)
		r.wait(f.Length)
	}
	for {
		o := &op{kind: opRemove, key: f.Victim, client: -1, call: r.now()}
		err := r.w.remove(i.member(), at)
		o.ret = r.now()
		if err != nil {
			o.maybe, o.ret = true, 0
			r.counts.add("remove-failed", 1)
		}
		r.history.add(o)
		if err == nil || f.Kind == Remove || !r.wait(100*time.Millisecond) {
			return
		}
	}
}

func (i *injection) hurtServers(f Fault) {
	r, c := i.r, i.r.w.cluster
	r.counts.add(f.Kind.String(), 1)
	if f.Kind == Compact {
		if err := r.w.compact(0); err != nil {
			r.counts.add("compact-failed", 1)
		}
		return
	}
	m := f.Victim
	if f.Kind == KillLeader || f.Kind == PauseLeader || f.Kind == IsolateLeader {
		m = c.leader()
	}
	victims := []int{m}
	switch f.Kind {
	case KillTwo:
		victims = append(victims, (m+1)%c.size())
	case RestartAll:
		victims = []int{0, 1, 2}
	}
	leaderPaused := f.Kind == PauseLeader || f.Kind == PauseMember && m == c.leader()
	s := r.losses.begin(-1, r.now())
	i.suffer(victims)
	defer func() {
		i.suffer(nil)
		if leaderPaused && r.w.late > 0 {
			r.losses.endLate(s, r.now()+r.w.late+recovery)
		} else {
			r.losses.end(s, r.now()+r.w.elect+recovery)
		}
	}()
	switch f.Kind {
	case PauseMember, PauseLeader:
		c.pause(m)
		r.wait(f.Length)
		c.resume(m)
	case IsolateLeader:
		c.isolate(m)
		r.wait(f.Length)
		c.reunite()
	default:
		for _, m := range victims {
			c.kill(m)
		}
		r.wait(f.Length)
		c.start()
	}
}

func (i *injection) suffer(victims []int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.victim = victims
}
