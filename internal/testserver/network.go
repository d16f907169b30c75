package testserver

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A network is how the members of a cluster reach each other: through relays of
// this process, so that they can be parted. Each member listens on 127.0.0.1, as
// it does for clients, and the others know it by the same port of other addresses,
// where relays listen, for TCP and for UDP. Where each of the others can be told an
// address of its own, a relay knows who comes; else it asks the kernel, which tells
// only as long as the other side has not closed its connection.
type network struct {
	nodes   []*Node
	closers []io.Closer
	running sync.WaitGroup

	mu     sync.Mutex // held through a change of who is parted
	closed bool
	away   map[*Node]bool // what is sent to and from these is lost
	pipes  map[*pipe]bool
}

// past, as a deadline, interrupts what waits.
var past = time.Unix(1, 0)

// newNetwork gives the nodes addresses for each other, and starts the relays there.
func newNetwork(nodes []*Node) (*network, error) {
	w := &network{nodes: nodes, away: map[*Node]bool{}, pipes: map[*pipe]bool{}}
	for i, n := range nodes {
		n.peers = map[*Node][]string{}
		for k, other := range nodes {
			host := fmt.Sprintf("127.0.1.%d", i+1)
			var from *Node
			switch {
			case n.pairs && n == other:
				continue
			case n.pairs:
				host, from = fmt.Sprintf("127.0.%d.%d", k+2, i+1), other
			case k > 0: // the same for all
				n.peers[other] = n.peers[nodes[0]]
				continue
			}
			addrs, err := w.relay(host, from, n)
			if err != nil {
				w.close()
				if errors.Is(err, syscall.EADDRINUSE) {
					err = errPortTaken
				}
				return nil, fmt.Errorf("a relay to a member of a cluster: %w", err)
			}
			n.peers[other] = addrs
		}
	}
	return w, nil
}

// relay forwards what comes to the private ports of to on another host, and returns
// where that is. It comes from one member, or from any if that is nil.
func (w *network) relay(host string, from, to *Node) (addrs []string, err error) {
	for _, private := range to.private {
		addr := net.JoinHostPort(host, strconv.Itoa(port(private)))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return nil, err
		}
		w.closers = append(w.closers, l)
		p, err := net.ListenPacket("udp", addr)
		if err != nil {
			return nil, err
		}
		w.closers = append(w.closers, p)
		target, err := net.ResolveUDPAddr("udp", private)
		if err != nil {
			return nil, err
		}
		w.running.Go(func() { w.accept(l.(*net.TCPListener), from, to, private) })
		w.running.Go(func() { w.forwardPackets(p, to, target) })
		addrs = append(addrs, addr)
	}
	return addrs, nil
}

func (w *network) accept(l *net.TCPListener, from, to *Node, private string) {
	for {
		c, err := l.AcceptTCP()
		switch {
		case err == nil:
			w.running.Go(func() { w.connect(c, from, to, private) })
		case errors.Is(err, net.ErrClosed):
			return
		default: // out of descriptors, say: it passes
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// connect joins a connection of a member with one to another.
func (w *network) connect(c *net.TCPConn, from, to *Node, private string) {
	if from == nil {
		from = w.dialer(c)
	}
	if from == nil { // it has ended or given up, or is none of ours
		reset(c)
		return
	}
	p := &pipe{w: w, from: from, to: to, ends: [2]*net.TCPConn{c, nil}}
	if !w.add(p) {
		return
	}
	s, err := net.Dial("tcp", private)
	// Who finds that nobody listens tries again. Here it has been let in already, and
	// would take an end for the other's: a ZooKeeper that has been chosen to lead, and
	// does not listen yet, would then wait for it for initLimit.
	for tries := 0; err != nil && tries < 100 && to.running() != nil && !p.over(); tries++ {
		time.Sleep(10 * time.Millisecond)
		s, err = net.Dial("tcp", private)
	}
	if err != nil {
		p.fail()
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.pipes[p] {
		s.Close()
		return
	}
	p.ends[1] = s.(*net.TCPConn)
	if p.lost {
		return // the other side knows of it, and hears nothing
	}
	w.running.Go(func() { p.forward(0, 1) })
	w.running.Go(func() { p.forward(1, 0) })
}

// add notes a pipe, and reports whether it may be dialled.
func (w *network) add(p *pipe) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		reset(p.ends[0])
		return false
	}
	w.pipes[p] = true
	p.lost = w.parted(p.from, p.to)
	return !p.lost
}

// forwardPackets forwards datagrams. Members send them from where they listen.
func (w *network) forwardPackets(p net.PacketConn, to *Node, private net.Addr) {
	buf := make([]byte, 1<<16)
	for {
		size, addr, err := p.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		} else if err != nil {
			continue // one that was refused before, say
		}
		if from := w.sender(addr.(*net.UDPAddr)); from != nil {
			w.mu.Lock()
			if !w.parted(from, to) {
				p.WriteTo(buf[:size], private) // it may be lost, as they may
			}
			w.mu.Unlock()
		}
	}
}

// sender returns the member that listens at addr.
func (w *network) sender(addr *net.UDPAddr) *Node {
	for _, n := range w.nodes {
		for _, private := range n.private {
			if private == addr.String() {
				return n
			}
		}
	}
	return nil
}

// dialer returns the member whose process has dialled c, and nil if none has.
func (w *network) dialer(c *net.TCPConn) *Node {
	socket, err := dialled(c)
	if err != nil {
		return nil
	}
	for _, n := range w.nodes {
		if p := n.running(); p != nil && p.has(socket) {
			return n
		}
	}
	return nil
}

// parted reports whether what one node sends to the other is lost; w.mu is held.
func (w *network) parted(from, to *Node) bool {
	return from != to && (w.away[from] || w.away[to])
}

// isolate parts n from the others.
func (w *network) isolate(n *Node) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.away[n] = true
	for p := range w.pipes {
		if w.parted(p.from, p.to) {
			p.lose()
		}
	}
}

// reunite lets everybody reach everybody. Connections on which something may be
// missing are broken.
func (w *network) reunite() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.away)
	for p := range w.pipes {
		if p.lost {
			p.breakUp()
		}
	}
}

func (w *network) close() {
	w.mu.Lock()
	w.closed = true
	for p := range w.pipes {
		p.breakUp()
	}
	w.mu.Unlock()
	for _, c := range w.closers {
		c.Close()
	}
	w.running.Wait()
}

// Isolate parts a member from the others, in both directions: what is sent is
// lost, and nobody is told. Clients still reach all members. It has done so when it
// returns; what the members make of it takes them some time more. If several are
// isolated, each is alone.
func (c *Cluster[S]) Isolate(t testing.TB, member S) {
	t.Helper()
	c.partable(t).isolate(member.node())
}

// Reunite undoes all that Isolate has done, and returns when all members that run
// serve. None of them may be paused.
func (c *Cluster[S]) Reunite(t testing.TB) {
	t.Helper()
	c.partable(t).reunite()
	for _, s := range c.Members {
		n := s.node()
		if n.running() == nil {
			continue
		}
		if err := n.awaitReady(); err != nil {
			t.Fatal(err)
		}
	}
}

func (c *Cluster[S]) partable(t testing.TB) *network {
	t.Helper()
	switch {
	case c.network != nil:
	case !CanIsolate:
		t.Skipf("SKIPPED %s: the members of a cluster can be parted on Linux only", t.Name())
	default:
		t.Fatal("a server that is alone has nobody to be parted from")
	}
	return c.network
}
