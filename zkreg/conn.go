package zkreg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-zookeeper/zk"
)

// A conn is a connection of the client library, which knows no contexts, keeps
// to itself what the server granted, and goes on by itself with a new session
// when one has expired.
type conn struct {
	b       *Backend
	zk      *zk.Conn
	events  <-chan zk.Event
	single  bool          // no second session after the first: what owns nodes must know
	timeout time.Duration // the session timeout asked for
	ctx     context.Context
	cancel  context.CancelFunc
	calls   sync.WaitGroup

	mu      sync.Mutex
	link    *link         // the newest TCP connection
	session bool          // it has a session
	expired bool          // the session is over, and there will be no other
	guessed bool          // that is so by our clock: no server has said it
	granted time.Duration // the session timeout
	since   time.Time     // when session last changed
	breaks  int           // how often a connection with a session broke
	fails   int           // dials and handshakes that failed
	streak  int           // those since a session that lasted
	why     error         // the newest of these
	awaited bool          // ready has been called
	changed chan struct{} // closed and made anew when one of these changes

	zxid    atomic.Int64 // the newest that a server has answered with in this session
	watches watches
}

// open starts a connection, and does not wait for it.
func (b *Backend) open(timeout time.Duration, single bool) (*conn, error) {
	if b.bad != nil {
		return nil, b.bad
	}
	c := &conn{b: b, single: single, timeout: timeout, changed: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.watches.init()
	var err error
	c.zk, c.events, err = zk.Connect(b.servers, timeout,
		zk.WithHostProvider(&hosts{over: c.over}),
		zk.WithDialer(c.dial),
		zk.WithEventCallback(c.event),
		zk.WithLogger(debugLog{}),
	)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", registry.ErrInvalid, err)
	}
	return c, nil
}

// debugLog takes what the client library has to say.
type debugLog struct{}

func (debugLog) Printf(format string, args ...any) {
	slog.Debug("zookeeper client: " + fmt.Sprintf(format, args...))
}

func (c *conn) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	close(c.changed)
	c.changed = make(chan struct{})
}

// failed notes why there is no connection.
func (c *conn) failed(err error) {
	c.change(func() { c.fails++; c.streak++; c.why = err })
}

// event is called by the client library, which waits for it.
func (c *conn) event(ev zk.Event) {
	if ev.Type != zk.EventSession {
		c.watches.fired(ev)
		return
	}
	switch ev.State {
	case zk.StateHasSession:
		c.change(func() { c.session, c.since, c.granted = true, time.Now(), c.link.granted })
	case zk.StateExpired:
		c.zxid.Store(0)
		c.change(func() { c.expired = c.single })
	case zk.StateDisconnected:
		c.mu.Lock()
		session, lasted, link := c.session, time.Since(c.since), c.link
		c.mu.Unlock()
		switch {
		case session:
		case link != nil && link.welcomed: // only to hear that the session is over
			return
		case link != nil && link.why != nil:
			c.failed(link.why)
			return
		default:
			c.failed(fmt.Errorf("%s ended the connection without granting a session", ev.Server))
			c.change(c.disown)
			return
		}
		c.change(func() {
			c.session, c.since = false, time.Now()
			c.breaks++
			if lasted > maxPause {
				c.streak = 0
			} else {
				c.streak += len(c.b.servers) // granted and broken, over and over: no reason to hurry
			}
		})
	}
}

// disown gives up a session that has long run out by our clock while the servers end
// every connection that asks for it. They do that without a word to a client that
// has seen more than they have: one that was restored from a copy, or is new. The
// client library would ask for ever. Not as soon as it has run out: servers that
// come back then say themselves whether it is over, and only what they say is
// certain. c.mu is held.
func (c *conn) disown() {
	if !c.expired && c.granted > 0 && time.Since(c.since) > 2*c.granted {
		c.expired, c.guessed = true, true
	}
}

var errClosed = fmt.Errorf("connection %w", registry.ErrClosed)

// ready waits for a session, until each server has failed once: since the
// connection was opened for the first call, and since the call for others.
func (c *conn) ready(ctx context.Context) error {
	before := 0
	c.mu.Lock()
	if c.awaited {
		before = c.fails
	}
	c.awaited = true
	c.mu.Unlock()
	for {
		c.mu.Lock()
		up, expired, guessed, fails, why, changed := c.session, c.expired, c.guessed, c.fails, c.why, c.changed
		c.mu.Unlock()
		switch {
		case expired && guessed:
			return fmt.Errorf("%w: it has run out twice, and servers end connections that ask for it; the last: %w", registry.ErrSessionLost, why)
		case expired:
			return fmt.Errorf("%w: %s does not know it any more", registry.ErrSessionLost, c.zk.Server())
		case c.ctx.Err() != nil:
			return errClosed
		case up:
			return nil
		case fails-before >= len(c.b.servers):
			return fmt.Errorf("no server can be reached; the last: %w", why)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if why != nil {
				return fmt.Errorf("%w; the last: %w", context.Cause(ctx), why)
			}
			return context.Cause(ctx)
		}
	}
}

// state returns a channel that is closed when the state changes, whether there is
// a session now, and how often its connection broke.
func (c *conn) state() (changed <-chan struct{}, up bool, breaks int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed, c.session, c.breaks
}

// call makes a request with ctx. When nothing at all has come over the link
// from the request to ctx's deadline, the link is dead, and is dropped, so that
// the client library makes another; the session goes on.
func call[T any](ctx context.Context, c *conn, f func() (T, error)) (T, error) {
	var zero T
	if ctx.Err() != nil {
		return zero, context.Cause(ctx)
	}
	if err := c.ready(ctx); err != nil {
		return zero, err
	}
	type answer struct {
		v   T
		err error
	}
	answered := make(chan answer, 1)
	c.mu.Lock()
	link := c.link
	c.mu.Unlock()
	sent := time.Now()
	c.calls.Go(func() {
		v, err := f()
		answered <- answer{v, err}
	})
	select {
	case a := <-answered:
		return a.v, c.explain(a.err)
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) && link.line.InVain(sent) {
			_ = link.Close()
		}
		return zero, fmt.Errorf("%s: %w", c.zk.Server(), context.Cause(ctx))
	}
}

// A refusal is a server's answer, as opposed to the lack of one.
type refusal struct {
	server string
	err    error
}

func (r *refusal) Error() string { return r.server + ": " + r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func isRefusal(err error) bool {
	var r *refusal
	return errors.As(err, &r)
}

// explain turns the client library's errors into ours.
func (c *conn) explain(err error) error {
	server := c.zk.Server()
	var unsent net.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &unsent), errors.Is(err, zk.ErrConnectionClosed), errors.Is(err, zk.ErrClosing), errors.Is(err, zk.ErrNoServer), errors.Is(err, zk.ErrSessionMoved):
		return fmt.Errorf("%s: %w", server, err)
	case errors.Is(err, zk.ErrSessionExpired):
		if c.single {
			err = fmt.Errorf("%w: %w", registry.ErrSessionLost, err)
		}
		return fmt.Errorf("%s: %w", server, err)
	case errors.Is(err, zk.ErrNoAuth), errors.Is(err, zk.ErrAuthFailed), errors.Is(err, zk.ErrInvalidACL):
		err = fmt.Errorf("%w: %w", registry.ErrDenied, err)
	case errors.Is(err, zk.ErrNoChildrenForEphemerals):
		err = fmt.Errorf("%w: the parent is ephemeral: %w", registry.ErrInvalid, err)
	}
	return &refusal{server, err}
}

// close ends the session, and returns when nothing of the connection is left.
// It reports whether a server has confirmed that the session is over.
func (c *conn) close(ctx context.Context) (confirmed bool) {
	_, up, _ := c.state()
	c.change(c.cancel) // from now on nothing is dialled
	c.mu.Lock()
	link := c.link
	c.mu.Unlock()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		c.zk.Close()         // which asks, and waits a second for the answer
		for range c.events { // until its loop has ended, with the answer or with the link
		}
	}()
	if !up && link != nil {
		_ = link.Close()
	}
	select {
	case <-closed:
	case <-ctx.Done():
		if link != nil {
			_ = link.Close()
		}
		<-closed
	}
	c.calls.Wait()
	return up && link.closed.Load()
}

// discard closes a connection whose session nothing hangs on.
func (c *conn) discard() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c.close(ctx)
}
