package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// New makes a Registry of b, which it then owns: Close closes it. A mistake in
// opts is the error of every call, as New has none.
func New(b Backend, opts *Options) Registry {
	o := opts.withDefaults()
	ctx, cancel := context.WithCancelCause(context.Background())
	c := &core{
		b:       b,
		opts:    o,
		bad:     checkOptions(&o),
		log:     o.Logger.With("backend", b.String()),
		ctx:     ctx,
		cancel:  cancel,
		watches: map[string]*watch{},
	}
	c.keeper = newKeeper(c)
	return c
}

func (o *Options) withDefaults() Options {
	if o == nil {
		o = &Options{}
	}
	d := *o
	d.TTL = cmp.Or(d.TTL, defaultTTL)
	d.MaxInstances = cmp.Or(d.MaxInstances, defaultMaxInstances)
	if d.Logger == nil {
		d.Logger = slog.Default()
	}
	return d
}

func checkOptions(o *Options) error {
	if o.TTL < minTTL || o.TTL > maxTTL {
		return fmt.Errorf("%w TTL %v: want %v to %v, or 0 for %v", ErrInvalid, o.TTL, minTTL, time.Duration(maxTTL), defaultTTL)
	}
	if o.MaxInstances < 1 {
		return fmt.Errorf("%w MaxInstances %d: want 1 or more, or 0 for %d", ErrInvalid, o.MaxInstances, defaultMaxInstances)
	}
	return nil
}

// core is the Registry over a Backend. What it does on its own is to ask;
// announcing is the keeper's, watching that of one watch for each service.
type core struct {
	b    Backend
	opts Options
	bad  error
	log  *slog.Logger

	ctx    context.Context // ends with ErrClosed at Close
	cancel context.CancelCauseFunc
	calls  sync.WaitGroup // calls and goroutines that may use b

	keeper *keeper

	mu      sync.Mutex
	closed  bool
	watches map[string]*watch

	closeOnce sync.Once
	closeErr  error
}

// enter lets a call or a goroutine use b until it calls c.calls.Done.
func (c *core) enter() error {
	if c.bad != nil {
		return c.bad
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	c.calls.Add(1)
	return nil
}

func (c *core) wrap(op, service, id string, err error) error {
	if err == nil {
		return nil
	}
	e := &Error{Op: op, Service: service, ID: id, Err: err}
	if !errors.Is(err, ErrInvalid) {
		e.Backend = c.b.String()
	}
	return e
}

func (c *core) Register(ctx context.Context, in Instance) (Registration, error) {
	in, err := normalize(in)
	if err != nil {
		return nil, c.wrap("register", in.Service, in.ID, err)
	}
	if err := c.enter(); err != nil {
		return nil, c.wrap("register", in.Service, in.ID, err)
	}
	defer c.calls.Done()
	if ctx.Err() != nil {
		return nil, c.wrap("register", in.Service, in.ID, context.Cause(ctx))
	}
	r, err := c.keeper.register(ctx, in)
	if err != nil {
		return nil, c.wrap("register", in.Service, in.ID, err)
	}
	return r, nil
}

func (c *core) Lookup(ctx context.Context, service string) ([]Instance, error) {
	if err := checkName("service", service, false); err != nil {
		return nil, c.wrap("lookup", service, "", err)
	}
	var recs []Record
	err := c.ask(ctx, "lookup", service, func(ctx context.Context) (err error) {
		recs, err = c.b.Lookup(ctx, service)
		return err
	})
	if err == nil && len(recs) > c.opts.MaxInstances {
		err = c.tooMany(len(recs))
	}
	if err != nil {
		return nil, c.wrap("lookup", service, "", err)
	}
	found := make([]Instance, 0, len(recs))
	for _, rec := range recs {
		if in, err := decode(service, rec.ID, rec.Value); err == nil {
			found = append(found, in)
		}
	}
	slices.SortFunc(found, byID)
	return found, nil
}

func (c *core) Services(ctx context.Context) ([]string, error) {
	var names []string
	err := c.ask(ctx, "services", "", func(ctx context.Context) (err error) {
		names, err = c.b.Services(ctx)
		return err
	})
	if err != nil {
		return nil, c.wrap("services", "", "", err)
	}
	names = slices.DeleteFunc(slices.Clone(names), func(s string) bool { return checkName("service", s, false) != nil })
	slices.Sort(names)
	return slices.Compact(names), nil
}

// ask makes a read until it succeeds, for as long as ctx allows and no longer
// than the TTL. Each try has half of that, so that a dead link is found out
// while there is time for another.
func (c *core) ask(ctx context.Context, op, service string, read func(context.Context) error) error {
	if err := c.enter(); err != nil {
		return err
	}
	defer c.calls.Done()
	ctx, cancel := context.WithTimeoutCause(ctx, c.patience(), fmt.Errorf("no answer within %v: %w", c.patience(), context.DeadlineExceeded))
	defer cancel()
	stop := context.AfterFunc(c.ctx, cancel)
	defer stop()
	var pause backoff
	var last error
	for ctx.Err() == nil {
		try, done := context.WithTimeout(ctx, c.patience()/2)
		err := read(try)
		done()
		if err == nil || permanent(err) {
			return err
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		if sleep(ctx, pause.next()) {
			c.observe(Event{Kind: Retrying, Op: op, Service: service, Err: err})
		}
	}
	return c.ended(ctx, last)
}

// ended is the error of a call whose ctx is over: why, and what it met last.
func (c *core) ended(ctx context.Context, last error) error {
	if c.ctx.Err() != nil {
		return ErrClosed
	}
	why := context.Cause(ctx)
	if last == nil || last.Error() == why.Error() {
		return why
	}
	return fmt.Errorf("%w; last: %w", why, last)
}

func (c *core) tooMany(n int) error {
	return fmt.Errorf("%w: the service has %d records and Options.MaxInstances is %d", ErrTooLarge, n, c.opts.MaxInstances)
}

func (c *core) Watch(ctx context.Context, service string) iter.Seq2[Snapshot, error] {
	return func(yield func(Snapshot, error) bool) {
		fail := func(err error) { yield(Snapshot{}, c.wrap("watch", service, "", err)) }
		if err := checkName("service", service, false); err != nil {
			fail(err)
			return
		}
		w, err := c.join(service)
		if err != nil {
			fail(err)
			return
		}
		defer c.leave(w) // also when the reader's loop body panics
		var seen uint64
		for {
			snap, rev, err := w.next(ctx, seen)
			if err != nil {
				fail(err)
				return
			}
			seen = rev
			if !yield(snap, nil) {
				return
			}
		}
	}
}

// join adds a reader to the watch of service, and starts it with the first. A
// reader is not counted in c.calls: it uses only what the watch has gathered,
// and may call Close from its loop.
func (c *core) join(service string) (*watch, error) {
	if c.bad != nil {
		return nil, c.bad
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	w := c.watches[service]
	if w == nil || w.ctx.Err() != nil {
		before := w
		w = newWatch(c, service)
		c.watches[service] = w
		c.calls.Go(func() {
			if before != nil {
				<-before.over // the backend has one Watch of a service at a time
			}
			w.run()
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.watches[service] == w {
				delete(c.watches, service)
			}
			close(w.over)
		})
	}
	w.readers++
	return w, nil
}

// leave ends the watch with its last reader.
func (c *core) leave(w *watch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.readers--; w.readers == 0 {
		w.cancel(nil)
	}
}

func (c *core) Close() error {
	c.closeOnce.Do(func() {
		c.mu.Lock()
		c.closed = true
		c.mu.Unlock()
		c.cancel(ErrClosed)
		c.calls.Wait() // then nobody starts the keeper any more
		c.closeErr = c.wrap("close", "", "", c.keeper.close())
		if err := c.b.Close(); err != nil && c.closeErr == nil {
			c.closeErr = c.wrap("close", "", "", err)
		}
	})
	return c.closeErr
}

func byID(a, b Instance) int { return cmp.Compare(a.ID, b.ID) }

// patience bounds a call to the backend: the TTL, which may be a day, or less than
// what a round trip takes.
func (c *core) patience() time.Duration { return min(max(c.opts.TTL, minPatience), maxPatience) }
