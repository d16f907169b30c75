package timesvc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/go-rollcall/registry"
)

const defaultTimeout = 2 * time.Second

// ErrNoInstances is the cause of a request that found nobody to ask.
var ErrNoInstances = errors.New("the service has no instances")

// A Client asks the instances of one service for the time. It keeps one live
// view of them for its whole life, and asks the registry nothing for a request.
// All methods are safe for concurrent use.
type Client struct {
	reg     registry.Registry
	service string
	opts    ClientOptions

	again  chan struct{} // asks for a view where the last one has ended
	cancel context.CancelFunc
	ended  chan struct{} // closed when the goroutine has ended

	mu       sync.Mutex
	watching bool               // the goroutine follows the service, or is about to
	view     *registry.Snapshot // nil: nothing is known yet, or any more
}

// ClientOptions configure a Client. The zero value and nil work.
type ClientOptions struct {
	// Timeout bounds a request with all its tries: 2 s if 0 or less.
	Timeout time.Duration

	// DialTimeout bounds one try while there are other instances left to try:
	// from dialling, which is nearly all of it, to the end of the answer. It is
	// a quarter of Timeout if 0 or less. The last instance left has all the
	// time that remains.
	DialTimeout time.Duration

	// Dial connects to an instance; network is "tcp". That of net.Dialer if nil.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// An Answer is what one instance said.
type Answer struct {
	// Addr is the address that was dialled.
	Addr string

	// Text is the answer without its line end: one line of printable text, by
	// our servers "<address>: <time>".
	Text string

	// Latency is the duration of the whole request, with the tries that failed.
	Latency time.Duration

	// Tries counts the instances that were tried: 1 if the first one answered.
	Tries int

	// Failed are the instances that were tried before, in order.
	Failed []Failure
}

// A Failure says why an instance gave no answer.
type Failure struct {
	Addr string
	Err  error
}

func (f Failure) Error() string { return f.Addr + ": " + f.Err.Error() }
func (f Failure) Unwrap() error { return f.Err }

// NewClient returns a Client of the service in reg, which it does not close.
// The caller closes the Client. Nothing is waited for: the first Get does.
func NewClient(reg registry.Registry, service string, opts *ClientOptions) *Client {
	var o ClientOptions
	if opts != nil {
		o = *opts
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.DialTimeout <= 0 {
		o.DialTimeout = o.Timeout / 4
	}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &Client{
		reg: reg, service: service, opts: o, cancel: cancel, watching: true,
		again: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	go c.follow(ctx)
	return c
}

// Get asks one instance, picked at random among those that are there now, for
// the time. If one cannot be dialled or ends the connection before a whole line
// has arrived, Get tries another; each at most once.
//
// The error says for each instance tried why it gave no answer, and wraps the
// reasons. It wraps ErrNoInstances if the service has none; the next Get looks
// again. Before anything is known of the service, Get waits for the registry,
// and then says why it did not answer. An outage of the registry after that
// changes nothing: Get goes on with the last known set.
func (c *Client) Get(ctx context.Context) (Answer, error) {
	start := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, c.opts.Timeout,
		fmt.Errorf("no answer within %v: %w", c.opts.Timeout, context.DeadlineExceeded))
	defer cancel()
	var failed tries
	tried := map[string]bool{}
	for {
		snap, err := c.current(ctx)
		if err != nil {
			return Answer{}, c.fail(err, failed)
		}
		left := untried(snap.Instances, tried)
		switch {
		case len(left) == 0 && len(failed) > 0:
			return Answer{}, c.fail(nil, failed)
		case len(left) == 0 && snap.Err != nil:
			return Answer{}, c.fail(fmt.Errorf("%w, as far as is known: %w", ErrNoInstances, snap.Err), nil)
		case len(left) == 0:
			return Answer{}, c.fail(ErrNoInstances, nil)
		}
		addr := left[rand.IntN(len(left))].Addr
		tried[addr] = true
		text, err := c.try(ctx, addr, len(left) == 1)
		if err == nil {
			return Answer{Addr: addr, Text: text, Latency: time.Since(start), Tries: len(tried), Failed: failed}, nil
		}
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err // without the address, which comes first here
		}
		failed = append(failed, Failure{addr, err})
		if ctx.Err() != nil {
			return Answer{}, c.fail(context.Cause(ctx), failed)
		}
	}
}

// Close ends the view of the service and returns when its goroutine has ended.
// Requests that are under way end by themselves; those made after it get
// [registry.ErrClosed]. Closing again does nothing. The error is nil.
func (c *Client) Close() error {
	c.cancel()
	<-c.ended
	return nil
}

// follow keeps the view up to date until ctx ends. The Registry survives every
// outage; where it gives up all the same (it was refused, or closed), the next
// request starts anew.
func (c *Client) follow(ctx context.Context) {
	defer close(c.ended)
	defer c.forget()
	for ctx.Err() == nil {
		c.mu.Lock()
		c.watching = true
		c.mu.Unlock()
		for snap, err := range c.reg.Watch(ctx, c.service) {
			if err != nil {
				break // always the last
			}
			c.mu.Lock()
			c.view = &snap
			c.mu.Unlock()
		}
		c.forget()
		select {
		case <-c.again:
		case <-ctx.Done():
		}
	}
}

func (c *Client) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.view, c.watching = nil, false
}

// current returns the view, and waits for it if there is none yet. To wait is
// to be another reader of the same watch, which costs the registry nothing and
// whose error says what the registry is waiting for.
func (c *Client) current(ctx context.Context) (*registry.Snapshot, error) {
	c.mu.Lock()
	snap := c.view
	c.mu.Unlock()
	if snap != nil {
		return snap, nil
	}
	select {
	case <-c.ended:
		return nil, fmt.Errorf("the client is %w", registry.ErrClosed)
	default:
	}
	select {
	case c.again <- struct{}{}:
	default:
	}
	for snap, err := range c.reg.Watch(ctx, c.service) {
		if err != nil {
			return nil, err
		}
		// The registry may be gone before the goroutine has come to see it.
		c.mu.Lock()
		if c.view == nil && c.watching {
			c.view = &snap
		}
		c.mu.Unlock()
		return &snap, nil
	}
	return nil, errors.New("the registry's watch ended without a reason")
}

// untried returns the instances whose address is not in tried.
func untried(all []registry.Instance, tried map[string]bool) []registry.Instance {
	if len(tried) == 0 {
		return all // nearly always, and there may be thousands
	}
	var left []registry.Instance
	for _, in := range all {
		if !tried[in.Addr] {
			left = append(left, in)
		}
	}
	return left
}

func (c *Client) fail(why error, failed tries) error {
	switch {
	case len(failed) == 0:
		return fmt.Errorf("timesvc: service %q: %w", c.service, why)
	case why == nil:
		return fmt.Errorf("timesvc: service %q: none of %d instances has answered: %w", c.service, len(failed), failed)
	default:
		return fmt.Errorf("timesvc: service %q: %w; instances tried: %w", c.service, why, failed)
	}
}

// tries is why each of some instances has not answered.
type tries []Failure

const maxShown = 5

func (t tries) Error() string {
	var b strings.Builder
	for i, err := range t[:min(len(t), maxShown)] {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(err.Error())
	}
	if more := len(t) - maxShown; more > 0 {
		fmt.Fprintf(&b, "; and %d more", more)
	}
	return b.String()
}

func (t tries) Unwrap() []error {
	errs := make([]error, len(t))
	for i, err := range t {
		errs[i] = err
	}
	return errs
}
