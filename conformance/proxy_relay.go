package conformance

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"time"
)

type direction int

const (
	toServer direction = iota
	toClient
)

const (
	chunk   = 32 << 10
	maxHeld = 4 << 20 // of one client, while frozen
)

// past, as a deadline, interrupts what waits.
var past = time.Unix(1, 0)

// A relay joins a client's connection with one to the server. One goroutine
// forwards in each direction. Its fields are guarded by the proxy's mu, but the
// connections, once they are set, are used by both sides.
type relay struct {
	p          *Proxy
	client     *net.TCPConn
	server     *net.TCPConn // nil until it is dialled
	dial       context.Context
	giveUpDial context.CancelFunc

	broken   bool    // both connections are closed
	ended    [2]bool // by direction: its end was forwarded
	lossy    bool    // something for the client was thrown away
	thawing  bool    // the freeze is over, but not yet for what the client sent in it
	greeting []byte
}

func newRelay(p *Proxy, client *net.TCPConn) *relay {
	r := &relay{p: p, client: client, greeting: make([]byte, 0, 64)}
	r.dial, r.giveUpDial = context.WithCancel(context.Background())
	return r
}

// interruptWrites makes a write that is under way in dir return; the proxy's mu
// is held.
func (r *relay) interruptWrites(dir direction) {
	if dir == toClient {
		r.client.SetWriteDeadline(past)
	} else if r.server != nil {
		r.server.SetWriteDeadline(past)
	}
}

func (r *relay) allowWrites() {
	r.client.SetWriteDeadline(time.Time{})
	if r.server != nil {
		r.server.SetWriteDeadline(time.Time{})
	}
}

// thaw makes forwardToServer, which may be waiting to read, look at once
// whether the client has given up. The proxy's mu is held.
func (r *relay) thaw() {
	r.thawing = true
	r.client.SetReadDeadline(past)
}

func (r *relay) forwardToServer() {
	buf := make([]byte, chunk)
	for {
		n, err := r.client.Read(buf)
		if !r.send(toServer, buf[:n], err) || err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
	}
}

func (r *relay) forwardToClient() {
	if !r.connect() {
		return
	}
	buf := make([]byte, chunk)
	for {
		n, err := r.server.Read(buf)
		r.greet(buf[:n])
		if !r.send(toClient, buf[:n], err) || err != nil {
			return
		}
	}
}

func (r *relay) connect() bool {
	conn, err := new(net.Dialer).DialContext(r.dial, "tcp", r.p.target)
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	switch {
	case err != nil:
		r.serverFailed()
	case r.broken:
		reset(conn.(*net.TCPConn))
	default:
		r.server = conn.(*net.TCPConn)
		r.p.changed.Broadcast()
	}
	return !r.broken
}

func (r *relay) greet(b []byte) {
	if len(r.greeting) == cap(r.greeting) { // only this goroutine changes it
		return
	}
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	r.greeting = append(r.greeting, b[:min(len(b), cap(r.greeting)-len(r.greeting))]...)
}

// send forwards b, and then the end of the stream if end is not nil. It waits
// for as long as the state of the proxy asks for, and reports whether the relay
// still stands.
func (r *relay) send(dir direction, b []byte, end error) bool {
	p := r.p
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if dir == toServer {
			b, end = r.awaitServer(b, end)
		} else {
			b, end = r.awaitClient(b, end)
		}
		dst := r.client
		if dir == toServer {
			dst = r.server
		}
		switch {
		case r.broken:
			return false
		case len(b) == 0 && end == nil:
			return true
		}

		// Counted before, so that no peer has a byte that is not counted.
		p.bytes += len(b)
		p.writing[dir]++
		p.mu.Unlock()
		n, err := dst.Write(b)
		if err == nil && end == io.EOF {
			err = dst.CloseWrite()
		}
		p.mu.Lock()
		p.writing[dir]--
		p.bytes -= len(b) - n
		p.changed.Broadcast()

		b = b[n:]
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			continue // interrupted: see what the state asks for now
		case err != nil && dir == toServer:
			r.serverFailed()
			return false
		case err != nil || end != nil && end != io.EOF:
			p.breakRelay(r)
			return false
		case end != nil:
			r.end(dir)
		}
		return true
	}
}

// serverFailed breaks the relay as soon as the client may hear of it; the
// proxy's mu is held.
func (r *relay) serverFailed() {
	for !r.broken && (r.p.frozen || r.p.dropping) {
		r.p.changed.Wait()
	}
	r.p.breakRelay(r)
}

// end notes that the end of one direction was forwarded. After the second
// nothing is left to do; the proxy's mu is held.
func (r *relay) end(dir direction) {
	r.ended[dir] = true
	if r.ended[toServer] && r.ended[toClient] && !r.broken {
		r.p.forget(r)
		r.client.Close()
		r.server.Close()
	}
}

// awaitClient returns what may be written to the client now; the proxy's mu is
// held.
func (r *relay) awaitClient(b []byte, end error) ([]byte, error) {
	p := r.p
	for !r.broken {
		switch {
		case p.frozen:
			p.changed.Wait()
		case p.dropping:
			r.lossy = true
			if end == nil {
				return nil, nil
			}
			p.changed.Wait() // for Heal to break the relay
		default:
			return b, end
		}
	}
	return nil, nil
}

// awaitServer returns what may be written to the server now. While the proxy is
// frozen it reads on, to see whether the client gives up. The proxy's mu is
// held, but not while it reads.
func (r *relay) awaitServer(b []byte, end error) ([]byte, error) {
	p := r.p
	for !r.broken {
		switch {
		case r.thawing:
			r.client.SetReadDeadline(time.Time{})
			if errors.Is(end, os.ErrDeadlineExceeded) {
				end = nil
			}
			// What is here by now was sent in the freeze, be it the end.
			for more := true; more && end == nil && len(b) <= maxHeld; {
				b = slices.Grow(b, chunk)
				var n int
				n, more, end = readNow(r.client, b[len(b):cap(b)])
				b = b[:len(b)+n]
			}
			r.thawing = false
			p.changed.Broadcast()
			if end != nil || len(b) > maxHeld {
				p.breakRelay(r)
			}
		case p.frozen && end == nil && len(b) <= maxHeld:
			b = slices.Grow(b, chunk)
			p.mu.Unlock()
			var n int
			n, end = r.client.Read(b[len(b):cap(b)])
			p.mu.Lock()
			b = b[:len(b)+n]
		case p.frozen || r.server == nil:
			p.changed.Wait()
		default:
			return b, end
		}
	}
	return nil, nil
}
