package conformance

import (
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
)

// A Proxy is a TCP proxy in front of one server, and stands for the network
// between the server and its clients: it can be cut, frozen, or made to lose
// the replies. All methods are safe for concurrent use, and may be called in
// any state.
//
// A method that changes the state has done so when it returns: nothing passes
// after Freeze has returned, not even what was being forwarded at that moment.
type Proxy struct {
	target   string
	listener net.Listener
	running  sync.WaitGroup

	changing sync.Mutex // held through a change of state, waits included

	mu       sync.Mutex // guards what follows, and the fields of every relay
	changed  *sync.Cond // on mu: any of it has changed
	cut      bool
	frozen   bool
	dropping bool
	closed   bool
	relays   []*relay // that are not broken, oldest first
	writing  [2]int   // relays that write just now, by direction
	bytes    int
	refused  int // connections broken at once because p was cut, over its life
}

// NewProxy starts a proxy on a free port of 127.0.0.1 that forwards to target,
// a host:port. It ends with the test, whatever its state.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("starting a proxy: %v", err)
	}
	p := &Proxy{target: target, listener: l}
	p.changed = sync.NewCond(&p.mu)
	p.running.Go(p.accept)
	t.Cleanup(p.Close)
	return p
}

// Addr is the host:port for clients. It stays the same.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Client is a client whose connections all go through p: reg, and what p can do to it.
// The harness adds the faults of its server. A connection that p refuses is Traffic, too:
// the packet that asks for it, as on the way to a server that is away.
func (p *Proxy) Client(reg registry.Registry) Client {
	return Client{
		Registry: reg,
		Cut:      p.Cut, Freeze: p.Freeze, DropReply: p.DropReply, Heal: p.Heal,
		Traffic: func() int { return p.Bytes() + syn*p.Refused() }, Release: p.Close,
	}
}

// syn is how many bytes the packet has that asks for a connection, without options.
const syn = 40

// Cut breaks every connection, and from now on each new one at once.
func (p *Proxy) Cut() {
	p.changing.Lock()
	defer p.changing.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	p.breakAll()
	p.awaitWriters(toServer)
	p.awaitWriters(toClient)
}

// Freeze stops all traffic, in both directions, and keeps every connection
// open. New ones are accepted, and frozen too. Neither side is told anything,
// not even that the other one closed its connection.
//
// After Heal what was sent meanwhile is forwarded, in order, with one
// exception: a client that closed its connection, or only its sending half, or
// that sent more than 4 MiB, while the proxy was frozen is taken to have given
// up. Nothing that it sent meanwhile ever reaches the server, and Heal breaks
// the connection.
func (p *Proxy) Freeze() {
	p.changing.Lock()
	defer p.changing.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen = true
	for _, r := range p.relays {
		r.interruptWrites(toServer)
		r.interruptWrites(toClient)
	}
	p.awaitWriters(toServer)
	p.awaitWriters(toClient)
}

// DropReply loses what the server sends, the end of a connection included: it
// is read and thrown away. What clients send is forwarded. Heal breaks the
// connections that have lost something, so that their clients do not wait for
// it.
func (p *Proxy) DropReply() {
	p.changing.Lock()
	defer p.changing.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dropping = true
	for _, r := range p.relays {
		r.interruptWrites(toClient)
	}
	p.awaitWriters(toClient)
}

// Heal undoes Cut, Freeze and DropReply.
func (p *Proxy) Heal() {
	p.changing.Lock()
	defer p.changing.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range slices.Clone(p.relays) {
		if r.lossy {
			p.breakRelay(r)
			continue
		}
		r.allowWrites()
		if p.frozen && !r.ended[toServer] {
			r.thaw()
		}
	}
	p.cut, p.frozen, p.dropping = false, false, false
	p.changed.Broadcast()
	for slices.ContainsFunc(p.relays, func(r *relay) bool { return r.thawing }) {
		p.changed.Wait()
	}
}

// Bytes is how many bytes were forwarded so far, in both directions together.
// Once a peer has read a byte, it is counted.
func (p *Proxy) Bytes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bytes
}

// Refused is how many connections were broken at once so far because p was cut.
func (p *Proxy) Refused() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refused
}

// Greetings returns, for each connection on which the server has sent
// something and that it holds open, the first bytes that it sent, at most 64.
// The oldest connection comes first. Some servers name the session there, so
// that a harness can end it from outside.
func (p *Proxy) Greetings() [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all [][]byte
	for _, r := range p.relays {
		if len(r.greeting) > 0 && !r.ended[toClient] {
			all = append(all, slices.Clone(r.greeting))
		}
	}
	return all
}

// Close breaks everything, refuses new connections, and returns when the last goroutine has ended.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.breakAll()
	p.mu.Unlock()
	p.listener.Close()
	p.running.Wait()
}

func (p *Proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			if err == nil {
				conn.Close()
			}
			return
		}
		switch {
		case err != nil: // out of descriptors, say: it passes
			p.mu.Unlock()
			time.Sleep(10 * time.Millisecond)
			continue
		case p.cut:
			p.refused++
			reset(conn.(*net.TCPConn))
		default:
			r := newRelay(p, conn.(*net.TCPConn))
			p.relays = append(p.relays, r)
			p.running.Go(r.forwardToServer)
			p.running.Go(r.forwardToClient)
		}
		p.mu.Unlock()
	}
}

// awaitWriters returns when nobody writes in a direction; p.mu is held, and the
// state is such that nobody begins to.
func (p *Proxy) awaitWriters(dir direction) {
	for p.writing[dir] > 0 {
		p.changed.Wait()
	}
}

// breakAll breaks every relay; p.mu is held.
func (p *Proxy) breakAll() {
	for _, r := range slices.Clone(p.relays) {
		p.breakRelay(r)
	}
}

// breakRelay breaks both connections of r, and forgets it; p.mu is held.
func (p *Proxy) breakRelay(r *relay) {
	if r.broken {
		return
	}
	p.forget(r)
	reset(r.client)
	if r.server != nil {
		reset(r.server)
	}
}

// forget marks r as broken, so that its goroutines end; p.mu is held.
func (p *Proxy) forget(r *relay) {
	r.broken, r.thawing = true, false
	r.giveUpDial()
	p.relays = slices.DeleteFunc(p.relays, func(o *relay) bool { return o == r })
	p.changed.Broadcast()
}

// reset closes c as a broken connection ends, so that the peer cannot take it
// for an orderly end.
func reset(c *net.TCPConn) {
	c.SetLinger(0)
	c.Close()
}
