package memreg

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-rollcall/registry"
)

var (
	errCut  = errors.New("memreg: the link is cut")
	errLost = errors.New("memreg: the link broke before the answer came")
)

// A Conn is one client's link to a Store, and the [registry.Backend] of that
// client. A test breaks it with the methods that are not those of a Backend.
// All methods are safe for concurrent use.
type Conn struct {
	store *Store
	name  string
	root  string

	mu       sync.Mutex
	closed   bool
	cut      bool
	frozen   bool
	mute     bool
	denied   bool
	member   int           // which one it uses
	out      [Members]bool // those that it cannot reach
	breaks   int           // how often the link broke: what was under way then is lost
	changed  chan struct{} // closed and made anew when one of these changes
	requests int
	records  int
}

func (c *Conn) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	close(c.changed)
	c.changed = make(chan struct{})
}

// Cut breaks the link: what is under way fails, and so does every call until
// Heal. The store notices nothing, but that sessions are not renewed.
func (c *Conn) Cut() { c.change(func() { c.cut = true; c.breaks++ }) }

// Freeze holds everything that is sent in either direction until Heal, as a
// network does that loses packets without a word: calls wait.
func (c *Conn) Freeze() { c.change(func() { c.frozen = true }) }

// DropReply loses all answers until Heal: requests reach the store and take
// effect, but the calls that made them wait, and fail at Heal.
func (c *Conn) DropReply() { c.change(func() { c.mute = true }) }

// Heal undoes Cut, Freeze, DropReply and Reach.
func (c *Conn) Heal() {
	c.change(func() {
		if c.mute {
			c.breaks++
		}
		c.cut, c.frozen, c.mute = c.closed, false, false
		clear(c.out[:])
	})
}

// Deny has the store refuse every request of this client with
// registry.ErrDenied, until Allow.
func (c *Conn) Deny() { c.change(func() { c.denied = true }) }

// Allow undoes Deny.
func (c *Conn) Allow() { c.change(func() { c.denied = false }) }

// Expire has the store end all sessions of this client at once, and with them
// their records, as if they had not been renewed.
func (c *Conn) Expire() {
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	for ss := range c.store.sessions {
		if ss.conn == c {
			ss.end()
		}
	}
}

// Requests returns how many requests the client has made, whether or not they
// came to the store.
func (c *Conn) Requests() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.requests
}

// Records returns how many records the link has carried, in requests, in
// answers and to watches.
func (c *Conn) Records() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.records
}

func noAnswer(ctx context.Context) error {
	return fmt.Errorf("memreg: the store does not answer: %w", context.Cause(ctx))
}

// pass waits while the link is frozen, and fails if it is cut, or has broken
// since it had broken breaks times (-1: never mind).
func (c *Conn) pass(ctx context.Context, breaks int) (now int, err error) {
	for {
		l := c.link()
		switch {
		case l.cut:
			return l.breaks, errCut
		case breaks >= 0 && l.breaks != breaks:
			return l.breaks, errLost
		case l.frozen:
			select {
			case <-l.own:
			case <-l.servers:
			case <-ctx.Done():
				return l.breaks, noAnswer(ctx)
			}
		case l.down:
			return l.breaks, errDown
		case l.alone:
			c.leave(l.member)
			return l.breaks, errNoLeader
		case l.denied:
			return l.breaks, fmt.Errorf("%w: this client was denied", registry.ErrDenied)
		default:
			return l.breaks, nil
		}
	}
}

// call makes one request: do runs at the store, under its mutex, and says how
// many records the request and its answer carry.
func (c *Conn) call(ctx context.Context, do func() (int, error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.mu.Lock()
	c.requests++
	c.mu.Unlock()
	breaks, err := c.pass(ctx, -1)
	if err != nil {
		return err
	}
	c.store.mu.Lock()
	n, answer := do()
	c.store.mu.Unlock()
	c.mu.Lock()
	c.records += n
	c.mu.Unlock()
	for {
		l := c.link()
		if !l.mute || l.breaks != breaks {
			break
		}
		select {
		case <-l.own:
		case <-l.servers:
		case <-ctx.Done():
			return noAnswer(ctx)
		}
	}
	if _, err := c.pass(ctx, breaks); err != nil && !errors.Is(err, registry.ErrDenied) {
		return err
	}
	return answer
}

// await waits for wake, as long as the link lasts, and for news to come through.
func (c *Conn) await(ctx context.Context, wake <-chan struct{}) error {
	breaks, err := c.pass(ctx, -1)
	for err == nil {
		l := c.link()
		news := wake
		if l.mute || l.alone && l.breaks == breaks {
			news = nil
		}
		select {
		case <-news:
			_, err = c.pass(ctx, breaks)
			return err
		case <-l.own:
		case <-l.servers:
		case <-ctx.Done():
			return noAnswer(ctx)
		}
		if now := c.link(); !now.alone || now.breaks != breaks { // who is alone is not told
			_, err = c.pass(ctx, breaks)
		}
	}
	return err
}

func (c *Conn) path(service string) string { return c.root + "/" + service }

// String is "memory", and the store's name if it was opened by one.
func (c *Conn) String() string { return c.name }

// NewSession grants the TTL that is asked for, within the Store's bounds.
func (c *Conn) NewSession(ctx context.Context, ttl time.Duration) (registry.Session, error) {
	var ss *session
	err := c.call(ctx, func() (int, error) {
		ss = c.store.grant(c, ttl)
		return 0, nil
	})
	if err != nil {
		return nil, err
	}
	return ss, nil
}

// Lookup is one request.
func (c *Conn) Lookup(ctx context.Context, service string) (recs []registry.Record, err error) {
	err = c.call(ctx, func() (int, error) {
		recs = c.store.list(c.path(service))
		return len(recs), nil
	})
	return recs, err
}

// Services is one request.
func (c *Conn) Services(ctx context.Context) (names []string, err error) {
	err = c.call(ctx, func() (int, error) {
		names = c.store.names(c.root)
		return len(names), nil
	})
	return names, err
}

// Watch is one request, and then a push for each change or more.
func (c *Conn) Watch(ctx context.Context, service string, sink registry.Sink) error {
	path := c.path(service)
	var w *watcher
	var recs []registry.Record
	var version string
	err := c.call(ctx, func() (int, error) {
		w = c.store.watch(path)
		recs, version = c.store.list(path), c.store.at(path).String()
		return len(recs), nil
	})
	if w != nil {
		defer c.store.unwatch(path, w)
	}
	if err != nil {
		return err
	}
	sink.Reset(recs, version)
	for {
		if err := c.await(ctx, w.wake); err != nil {
			return err
		}
		put, gone, version := c.store.changes(path, w)
		c.mu.Lock()
		c.records += len(put) + len(gone)
		c.mu.Unlock()
		sink.Apply(put, gone, version)
	}
}

// Current is one request.
func (c *Conn) Current(ctx context.Context, service, version string) (same bool, err error) {
	err = c.call(ctx, func() (int, error) {
		same = c.store.at(c.path(service)).String() == version
		return 0, nil
	})
	return same, err
}

// Close breaks the link for good: Heal does not undo it.
func (c *Conn) Close() error {
	c.change(func() { c.closed, c.cut = true, true; c.breaks++ })
	return nil
}
