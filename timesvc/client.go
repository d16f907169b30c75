package timesvc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/balance"
	"github.com/go-rollcall/registry/internal/picks"
)

const defaultTimeout = 2 * time.Second

// ErrNoInstances is the cause of a request that found nobody to ask.
var ErrNoInstances = errors.New("the service has no instances (is a server registered by this name, at this path of the registry?)")

// A Client asks the instances of one service for the time. It keeps one live
// view of them for its whole life, and asks the registry nothing for a request.
// All methods are safe for concurrent use.
type Client struct {
	service string
	opts    ClientOptions

	bad error // the service cannot be followed under its name; svc is nil then
	svc *picks.Service
}

// ClientOptions configure a Client. The zero value and nil work.
type ClientOptions struct {
	// Timeout bounds a request with all its tries: 2 s if 0 or less.
	Timeout time.Duration

	// TryTimeout bounds one try while there are other instances left, from dialling
	// to the end of the answer: a quarter of Timeout if 0 or less, and no more than
	// half of the time that remains. The last instance left has all of that.
	TryTimeout time.Duration

	// Dial connects to an instance; network is "tcp". That of net.Dialer if nil.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	// Policy picks the instance for a request: [balance.Random] if nil. Each Client
	// needs its own.
	Policy balance.Policy

	// Key is what [balance.Hash] goes by.
	Key string

	// Cache is a directory for the last confirmed set, with which the Client begins
	// while the registry is away: see [registry.FollowOptions]. None if empty.
	Cache string

	// Logger receives a line when an instance is left out because it failed, and when
	// it is well again; and for trouble with the registry or the cache. slog.Default
	// if nil.
	Logger *slog.Logger
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

	// Failed are the instances that were tried in vain, in order.
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
	if o.TryTimeout <= 0 {
		o.TryTimeout = o.Timeout / 4
	}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	if o.Policy == nil {
		o.Policy = balance.Random()
	}
	c := &Client{service: service, opts: o}
	view, err := registry.Follow(context.Background(), reg, service, &registry.FollowOptions{Cache: o.Cache, Logger: o.Logger})
	if err != nil {
		c.bad = err
		return c
	}
	c.svc = &picks.Service{Balancer: balance.New(view, o.Policy, &balance.Options{Logger: o.Logger}), View: view}
	return c
}

// Get asks one instance, which the policy picks among those that are there now, for
// the time. If one cannot be dialled or ends the connection before a whole line
// has arrived, Get tries another; each at most once. An instance that gave no answer
// is left out of later requests for a while: see [balance.Options].
//
// The error says for each instance tried why it gave no answer, and wraps the
// reasons. It wraps ErrNoInstances if the service has none; the next Get looks
// again. Before anything is known of the service, Get waits for the registry,
// and then says why it did not answer; one that refuses is asked again, but at most
// once in [registry.MaxBackoff], however often Get is called. An outage or a refusal
// after that changes nothing: Get goes on with the last known set.
//
// With an error, the Answer has no Addr and no Text; the rest of it is of the tries.
func (c *Client) Get(ctx context.Context) (Answer, error) {
	start := time.Now()
	a, err := c.ask(ctx)
	a.Latency = time.Since(start)
	a.Tries = len(a.Failed)
	if err == nil {
		a.Tries++
	}
	return a, err
}

func (c *Client) ask(ctx context.Context) (a Answer, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.opts.Timeout,
		fmt.Errorf("no answer within %v: %w", c.opts.Timeout, context.DeadlineExceeded))
	defer cancel()
	if err := c.ready(ctx); err != nil {
		return a, c.fail(err, nil)
	}
	req := c.svc.Request(ctx, c.opts.Key, c.opts.TryTimeout)
	for {
		t, err := req.Next()
		switch {
		case errors.Is(err, balance.ErrNone) && len(a.Failed) > 0:
			return a, c.fail(nil, a.Failed)
		case errors.Is(err, balance.ErrNone):
			return a, c.fail(c.nobody(), nil)
		case err != nil:
			return a, c.fail(err, a.Failed)
		}
		within, cancel := t.Context()
		addr := t.Instance().Addr
		text, err := c.try(within, addr)
		t.End(within, err)
		cancel()
		if err == nil {
			a.Addr, a.Text = addr, text
			return a, nil
		}
		a.Failed = append(a.Failed, Failure{addr, bare(err)})
		if ctx.Err() != nil {
			return a, c.fail(context.Cause(ctx), a.Failed)
		}
	}
}

// ready waits for the first set. The view keeps its last one when it ends, which is no
// longer good enough then: nobody follows the service any more.
func (c *Client) ready(ctx context.Context) error {
	if c.bad != nil {
		return c.bad
	}
	snap := c.svc.View.Snapshot()
	switch {
	case errors.Is(snap.Err, registry.ErrClosed):
		return snap.Err
	case snap.Confirmed.IsZero():
		return c.svc.View.Wait(ctx)
	}
	return nil
}

func (c *Client) nobody() error {
	if err := c.svc.View.Snapshot().Err; err != nil {
		return fmt.Errorf("%w, as far as is known: %w", ErrNoInstances, err)
	}
	return ErrNoInstances
}

// Close ends the view of the service, writes the cache, and returns when the last
// goroutine has ended. Requests that are under way end by themselves; those made
// after it get [registry.ErrClosed]. Closing again does nothing. The error is nil.
func (c *Client) Close() error {
	if c.bad == nil {
		c.svc.Balancer.Close()
		c.svc.View.Close()
	}
	return nil
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
