// Package pipenet is a network of pipes, for bubbles of testing/synctest: a
// goroutine that waits for a real socket holds up a bubble for ever.
package pipenet

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
)

// A Net is one network. The zero value has no listeners.
type Net struct {
	mu        sync.Mutex
	listeners map[string]*Listener
}

// A Listener is a net.Listener of a Net.
type Listener struct {
	// Fail, if not nil, is called by Accept first, and its error is that of
	// Accept. It is set before the first Accept.
	Fail func() error

	addr  address
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }

// Listen listens on addr, instead of whoever does so far.
func (n *Net) Listen(addr string) *Listener {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners == nil {
		n.listeners = map[string]*Listener{}
	}
	l := &Listener{addr: address(addr), conns: make(chan net.Conn), done: make(chan struct{})}
	n.listeners[addr] = l
	return l
}

// Dial is refused where nobody listens, and waits where nobody accepts.
func (n *Net) Dial(ctx context.Context, _, addr string) (net.Conn, error) {
	n.mu.Lock()
	l := n.listeners[addr]
	n.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("dial %s: %w", addr, syscall.ECONNREFUSED)
	}
	here, there := net.Pipe()
	select {
	case l.conns <- there:
		return here, nil
	case <-l.done:
		return nil, fmt.Errorf("dial %s: %w", addr, syscall.ECONNREFUSED)
	case <-ctx.Done():
		return nil, fmt.Errorf("dial %s: %w", addr, context.Cause(ctx))
	}
}

// Accept returns net.ErrClosed after Close.
func (l *Listener) Accept() (net.Conn, error) {
	if l.Fail != nil {
		if err := l.Fail(); err != nil {
			return nil, err
		}
	}
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept, and has further calls of Dial refused.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr is what was given to Listen.
func (l *Listener) Addr() net.Addr { return l.addr }
