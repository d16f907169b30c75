package testserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// A Cluster is servers of a kind that are one registry together.
type Cluster[S Server] struct {
	Members []S

	network *network // between them; nil for one that is alone, and where there can be none
}

// startCluster starts as many servers as members says, with new names,
// directories and addresses, and returns when all serve. Each has, beside the
// address for clients, as many for the others as private says.
func startCluster[S Server](kind string, members, private int, newServer func(*Node) S) (c *Cluster[S], err error) {
	for range 5 {
		// A port that was free a moment ago may be taken by now.
		if c, err = tryCluster(kind, members, private, newServer); !errors.Is(err, errPortTaken) {
			return c, err
		}
	}
	return nil, err
}

func tryCluster[S Server](kind string, members, private int, newServer func(*Node) S) (*Cluster[S], error) {
	addrs, err := FreeAddrs(members * (1 + private))
	if err != nil {
		return nil, err
	}
	var c Cluster[S]
	var nodes []*Node
	for i := range members {
		n := &Node{kind: kind, addr: addrs[0], private: addrs[1:][:private]}
		addrs = addrs[1+private:]
		n.name = fmt.Sprintf("registry-test-%d-%d", i+1, port(n.addr))
		n.dir, err = os.MkdirTemp("", strings.ToLower(kind)+"-test-")
		if err != nil {
			c.Stop()
			return nil, err
		}
		s := newServer(n)
		n.server = s
		nodes = append(nodes, n)
		c.Members = append(c.Members, s)
	}
	for _, n := range nodes {
		n.members = nodes
	}
	if members > 1 && CanIsolate {
		if c.network, err = newNetwork(nodes); err != nil {
			c.Stop()
			return nil, err
		}
	}
	if err := start(nodes...); err != nil {
		c.Stop()
		return nil, err
	}
	return &c, nil
}

// startOne starts a server that is alone.
func startOne[S Server](kind string, private int, newServer func(*Node) S) (S, error) {
	c, err := startCluster(kind, 1, private, newServer)
	if err != nil {
		var none S
		return none, err
	}
	return c.Members[0], nil
}

// String says what it is, and where.
func (c *Cluster[S]) String() string {
	n := c.Members[0].node()
	return fmt.Sprintf("a cluster of %s %s at %s", n.kind, n.version, c.Addr())
}

// Addr is the addresses of all members for clients, separated by commas.
func (c *Cluster[S]) Addr() string {
	var addrs []string
	for _, s := range c.Members {
		addrs = append(addrs, s.node().addr)
	}
	return strings.Join(addrs, ",")
}

// Leader returns the member that leads, and waits until one does. One that was
// paused when it led, and goes on, may still think that it does: as long as two
// say so, that is waited for, too.
func (c *Cluster[S]) Leader(t testing.TB) S {
	t.Helper()
	for deadline := time.Now().Add(startTime); ; time.Sleep(10 * time.Millisecond) {
		leaders, err := c.leaders()
		if len(leaders) == 1 {
			return leaders[0]
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d members of %s lead after %v (%v)", len(leaders), c.Addr(), startTime, err)
		}
	}
}

// leaders returns the members that say that they lead, and why others said
// nothing.
func (c *Cluster[S]) leaders() (leaders []S, err error) {
	var errs []error
	for _, s := range c.Members {
		if s.node().running() == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		leads, err := s.leads(ctx)
		cancel()
		if leads {
			leaders = append(leaders, s)
		}
		errs = append(errs, err)
	}
	return leaders, errors.Join(errs...)
}

// Start starts the members that have ended again, all at once, with what they
// stored, and returns when all members serve. None of them may be paused.
func (c *Cluster[S]) Start(t testing.TB) {
	t.Helper()
	var nodes []*Node
	for _, s := range c.Members {
		nodes = append(nodes, s.node())
	}
	if err := restart(nodes...); err != nil {
		t.Fatal(err)
	}
}

// Stop ends all members without warning and removes what they stored.
func (c *Cluster[S]) Stop() {
	for _, s := range c.Members {
		s.node().Stop()
	}
	if c.network != nil {
		c.network.close()
	}
}
