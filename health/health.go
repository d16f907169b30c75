// Package health ties registrations to a check: an instance that is not well is
// withdrawn, and comes back when it is.
//
//	reg = health.Registry(reg, worker.Check, nil)
//	me, err := reg.Register(ctx, in) // when it is well
//
// Check what is the instance's own: where all instances check something that they share,
// such as a database, its failure withdraws all of them, and clients see truthfully that
// there is nobody.
package health

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/go-rollcall/registry"
)

// ErrUnhealthy is why a Registration is not confirmed, by its Err, while its instance
// is withdrawn because the check fails.
var ErrUnhealthy = errors.New("unhealthy")

// Options configure the checks. The zero value and nil work.
type Options struct {
	// Period is the time from one check's end to the next: 2 s if 0 or less.
	Period time.Duration

	// Timeout bounds a check, by its context: Period if 0 or less. One that does not
	// return even so has failed, and fails until it has returned.
	Timeout time.Duration

	// Fall is after how many failures in a row an instance is withdrawn: 3 if 0 or
	// less.
	Fall int

	// Rise is after how many successes in a row it comes back: 2 if 0 or less. The
	// first check of all decides alone.
	Rise int

	// Logger receives a line when an instance is withdrawn, and one when it is back.
	// slog.Default if nil.
	Logger *slog.Logger
}

// Registry returns reg with every registration tied to check, which returns nil while
// the program is well. Checks begin at Register, and end with the registration; each
// registration has its own. Lookup, Services and Watch are those of reg. Closing it
// closes reg.
//
// Register waits until the instance is well and the registry has confirmed it; its
// error says what the check has said last. A [registry.Registration] stays the same
// through withdrawals: Done is closed when it has ended for good, Err wraps
// [ErrUnhealthy] while the check fails, and then says why the instance is not yet
// registered again. Update meanwhile keeps the metadata for its return, and says so by
// the same error. Checks of several registrations may run at the same time.
//
// If a try to register again has failed, and none has succeeded since, Deregister returns
// an error: that try may have left a record, which goes with its session.
//
// If a newer registration of the same ID has come while the instance was withdrawn, it
// does not take over from that: the Registration ends with ErrSuperseded.
func Registry(reg registry.Registry, check func(context.Context) error, opts *Options) registry.Registry {
	var o Options
	if opts != nil {
		o = *opts
	}
	o.Period = cmp.Or(max(o.Period, 0), 2*time.Second)
	o.Timeout = cmp.Or(max(o.Timeout, 0), o.Period)
	o.Fall = cmp.Or(max(o.Fall, 0), 3)
	o.Rise = cmp.Or(max(o.Rise, 0), 2)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	c := &checked{Registry: reg, check: check, opts: o}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	return c
}

// checked is a Registry whose registrations are checked.
type checked struct {
	registry.Registry
	check func(context.Context) error
	opts  Options

	ctx    context.Context // ends with ErrClosed at Close
	cancel context.CancelCauseFunc

	mu     sync.Mutex
	closed bool
	work   sync.WaitGroup // what goes on for registrations
}

func (c *checked) Register(ctx context.Context, in registry.Instance) (registry.Registration, error) {
	in.ID = cmp.Or(in.ID, in.Addr)
	fail := func(err error) (registry.Registration, error) {
		var e *registry.Error
		if !errors.As(err, &e) {
			err = &registry.Error{Op: "register", Service: in.Service, ID: in.ID, Err: err}
		}
		return nil, err
	}
	if err := in.Validate(); err != nil {
		return c.Registry.Register(ctx, in) // which says so in its own words
	}
	if ctx.Err() != nil {
		return fail(context.Cause(ctx))
	}
	r := newRegistration(c, in)
	if !c.start(func() { r.run(ctx) }) {
		return fail(registry.ErrClosed)
	}
	select {
	case <-r.first:
		return r, nil
	case <-r.ended:
	}
	select {
	case <-r.first: // and has ended since
		return r, nil
	default:
		return fail(r.failure())
	}
}

// start starts a goroutine that Close waits for, and reports whether it may.
func (c *checked) start(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.work.Go(f)
	}
	return !c.closed
}

func (c *checked) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	err := c.Registry.Close() // ends the registrations, in one request
	c.cancel(registry.ErrClosed)
	c.work.Wait()
	return err
}

// probe checks until ctx ends, and hands over each change: nil when the program is
// well, else what the check has said; and what it says while the program is not well.
func (c *checked) probe(ctx context.Context, changed, ails func(error)) {
	var hung <-chan error
	well, known := false, false
	for bad, good := 0, 0; ; {
		var err error
		hung, err = c.once(ctx, hung)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			good, bad = good+1, 0
		} else {
			good, bad = 0, bad+1
		}
		switch {
		case err == nil && !well && (good >= c.opts.Rise || !known):
			well = true
			changed(nil)
		case err != nil && (well && bad >= c.opts.Fall || !known):
			well = false
			changed(err)
		case err != nil && !well:
			ails(err)
		}
		known = true
		t := time.NewTimer(c.opts.Period)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

// grace is for a check whose context has ended to return.
const grace = 20 * time.Millisecond

// once makes one check, unless the last one hangs, and returns its channel if this one
// does.
func (c *checked) once(ctx context.Context, hung <-chan error) (<-chan error, error) {
	if hung != nil {
		select {
		case <-hung:
		default:
			return hung, errHung
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	said := make(chan error, 1)
	go func() { said <- c.check(ctx) }()
	select {
	case err := <-said:
		return nil, err
	case <-ctx.Done():
	}
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case err := <-said:
		if err == nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("the check took more than %v: %w", c.opts.Timeout, err)
	case <-t.C:
		return said, errHung
	}
}

var errHung = errors.New("the check hangs: it does not return when its context ends")
