package chaos

import (
	"fmt"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/internal/testserver"
)

const root = "/chaos"

// A world is a registry under test, and what can be done to it. What returns an error
// cannot be counted on in a storm.
type world struct {
	ttl   time.Duration
	dmax  time.Duration // for a dead owner's record to go
	elect time.Duration // for a cluster to have a leader again, and to serve
	late  time.Duration // for a leader that stood still to end no more sessions, after it goes on
	// failedExpiries counts the sessions that a member has taken for expired and could not
	// end. It tries again after each of the pauses of retried. Nil where there is no such
	// thing.
	failedExpiries func(member int) int

	// link makes a client's way to the registry, and open a Backend over it.
	link func(client int) link
	open func(link) registry.Backend
	// direct is a Backend that goes to the servers without any link.
	direct func() registry.Backend

	plant  func(member int, k key, value []byte) error
	remove func(member int, k key) error
	expire func(member int, l link, b registry.Backend) error
	// sessions counts those that the servers hold, of which the administrators may have
	// some.
	sessions func() int
	admins   int

	cluster cluster                // nil in memory
	compact func(member int) error // nil where the server keeps no history
}

// A cluster is three servers.
type cluster interface {
	size() int
	kill(member int)
	pause(member int)
	resume(member int)
	leader() int
	isolate(member int)
	reunite()
	start() // those that have ended, and waits until all serve
	log(member int) ([]byte, error)
}

// recovery is how long after a fault a record may be absent, at the most: that the
// session is over is learnt, the pause between two tries, a new session, and the
// writing, on a slow machine.
const recovery = 2*registry.MaxBackoff + 2*time.Second

func newWorld(t testing.TB, backend string) *world {
	switch backend {
	case "zk":
		return newZooKeeperWorld(t)
	case "etcd":
		return newEtcdWorld(t)
	case "consul":
		return newConsulWorld(t)
	case "mem":
		return newMemoryWorld()
	}
	t.Fatalf("no backend is called %q", backend)
	return nil
}

// possible reports whether there is such a fault in this world.
func (w *world) possible(k Kind) bool {
	switch {
	case k == Compact:
		return w.compact != nil
	case k == IsolateLeader:
		return w.cluster != nil && testserver.CanIsolate
	case k.layer() == serverLayer, k.layer() == wireLayer:
		return w.cluster != nil
	}
	return true
}

// settling is how long it may take, after all faults are over, until everything is as it
// should be: a leader is there, sessions whose clocks it has started anew have run out,
// and what is tried is tried again.
func (w *world) settling() time.Duration { return w.elect + w.ttl + w.dmax + recovery }

// nodes is a cluster of testserver's.
type nodes[S testserver.Server] struct {
	t testing.TB
	*testserver.Cluster[S]
}

func (c *nodes[S]) size() int          { return len(c.Members) }
func (c *nodes[S]) kill(member int)    { c.Members[member].Kill(c.t) }
func (c *nodes[S]) pause(member int)   { c.Members[member].Pause(c.t) }
func (c *nodes[S]) resume(member int)  { c.Members[member].Continue(c.t) }
func (c *nodes[S]) start()             { c.Start(c.t) }
func (c *nodes[S]) isolate(member int) { c.Isolate(c.t, c.Members[member]) }
func (c *nodes[S]) reunite()           { c.Reunite(c.t) }

func (c *nodes[S]) log(member int) ([]byte, error) { return c.Members[member].Log() }

func (c *nodes[S]) leader() int {
	leader := c.Leader(c.t)
	for i, s := range c.Members {
		if s.Addr() == leader.Addr() {
			return i
		}
	}
	return 0
}

func (c *nodes[S]) addrs() (addrs []string) {
	for _, s := range c.Members {
		addrs = append(addrs, s.Addr())
	}
	return addrs
}

// wired returns how clients reach members.
func wired(t testing.TB, addrs []string) func(client int) link {
	w := newWires(t)
	return func(client int) link {
		if client%far == 0 {
			return newNetwork(t, addrs, w)
		}
		return newNetwork(t, addrs, nil)
	}
}

// attempt makes of a failure of f, which would end the test, an error: in a storm an
// administrator may fail too.
func attempt(t testing.TB, f func(testing.TB)) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case failure:
			err = p
		default:
			panic(p)
		}
	}()
	f(soft{t})
	return nil
}

type failure string

func (f failure) Error() string { return string(f) }

type soft struct{ testing.TB }

func (soft) Fatalf(format string, args ...any) { panic(failure(fmt.Sprintf(format, args...))) }
func (soft) Fatal(args ...any)                 { panic(failure(fmt.Sprint(args...))) }
