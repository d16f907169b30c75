package testserver

import (
	"os"
	"slices"
	"testing"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/conformance"
)

// Suite gives a case of the conformance suite the cluster to fail, and brings its
// members back when the case ends. open makes a Backend on these servers, which are
// proxies, one for each member and client. compact has the members forget what is not
// their present state; it may be nil.
func (c *Cluster[S]) Suite(t *testing.T, open func(servers []string) registry.Backend, compact func()) conformance.Cluster {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			for _, s := range c.Members {
				t.Logf("The log of %v ends so:\n%s", s.node(), s.node().logTail())
			}
		}
		c.mend(t)
	})
	each := func(f func(*Node)) func() {
		return func() {
			for _, s := range c.Members {
				f(s.node())
			}
		}
	}
	suite := conformance.Cluster{
		New: func(opts *registry.Options) conformance.Client {
			ways := c.ways(t)
			return conformance.Client{
				Registry: registry.New(open(ways.addrs()), opts),
				Cut:      ways.each((*conformance.Proxy).Cut), Freeze: ways.each((*conformance.Proxy).Freeze),
				DropReply: ways.each((*conformance.Proxy).DropReply), Heal: ways.each((*conformance.Proxy).Heal),
				Release: ways.each((*conformance.Proxy).Close), Reach: ways.reach, Compact: compact,
			}
		},
		Members:    len(c.Members),
		KillLeader: func() { c.Leader(t).Kill(t) },
		Stop:       each(func(n *Node) { n.Kill(t) }),
		Start:      func() { c.Start(t) },
		Save:       func() func() { return c.save(t) },
	}
	if CanIsolate {
		suite.Isolate = func(member int) { c.Isolate(t, c.Members[member]) }
		suite.Reunite = func() { c.Reunite(t) }
	}
	if CanPause {
		suite.Pause = each(func(n *Node) { n.Pause(t) })
		suite.PauseLeader = func() int {
			leader := c.Leader(t).node()
			leader.Pause(t)
			return slices.IndexFunc(c.Members, func(s S) bool { return s.node() == leader })
		}
		suite.Continue = each(func(n *Node) { n.Continue(t) })
	}
	return suite
}

// mend brings all members back, whatever was done to them.
func (c *Cluster[S]) mend(t testing.TB) {
	t.Helper()
	for _, s := range c.Members {
		if p := s.node().running(); p != nil {
			_ = p.resume() // it may not be paused
		}
	}
	if c.network != nil {
		c.network.reunite()
	}
	c.Start(t)
}

// save keeps what the members have stored. What it returns has them start with that.
// They are killed for both, so that they store what they have, and nothing else.
func (c *Cluster[S]) save(t testing.TB) (restore func()) {
	t.Helper()
	kept := t.TempDir()
	replace := func(from, to func(*Node) string) {
		t.Helper()
		for _, s := range c.Members {
			s.Kill(t)
		}
		for _, s := range c.Members {
			n := s.node()
			err := os.RemoveAll(to(n))
			if err == nil {
				err = os.CopyFS(to(n), os.DirFS(from(n)))
			}
			if err != nil {
				t.Fatalf("copying what %v has stored: %v", n, err)
			}
		}
		c.Start(t)
	}
	live := func(n *Node) string { return n.file("data") }
	copied := func(n *Node) string { return kept + "/" + n.name }
	replace(live, copied)
	return func() { replace(copied, live) }
}

// ways are the proxies through which one client reaches the members.
type ways []*conformance.Proxy

func (c *Cluster[S]) ways(t testing.TB) (w ways) {
	t.Helper()
	for _, s := range c.Members {
		w = append(w, conformance.NewProxy(t, s.Addr()))
	}
	return w
}

func (w ways) addrs() (addrs []string) {
	for _, p := range w {
		addrs = append(addrs, p.Addr())
	}
	return addrs
}

func (w ways) each(f func(*conformance.Proxy)) func() {
	return func() {
		for _, p := range w {
			f(p)
		}
	}
}

// reach leaves these ways alone.
func (w ways) reach(members ...int) {
	for i, p := range w {
		if slices.Contains(members, i) {
			p.Heal()
		} else {
			p.Cut()
		}
	}
}
