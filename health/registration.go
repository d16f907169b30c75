package health

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/go-rollcall/registry"
)

// A registration is what the user holds, of which there are several in the Registry,
// one after the other. Its run goroutine makes and withdraws them.
type registration struct {
	c      *checked
	ctx    context.Context // ends when it is no longer wanted
	cancel context.CancelCauseFunc
	turn   chan struct{} // capacity 1: its health has changed
	first  chan struct{} // closed when it was confirmed for the first time
	ended  chan struct{} // closed when run has returned
	done   chan struct{}

	updating chan struct{} // capacity 1: held by Update

	mu    sync.Mutex
	in    registry.Instance
	gen   int                     // moves with in
	cur   registry.Registration   // nil while there is none
	left  registry.Registration   // the last one, withdrawn
	well  context.Context         // ends when it is no longer well; nil while it is not
	sick  context.CancelCauseFunc // ends well
	said  error                   // what the check has said last, while it is not well
	loose bool                    // there may be a record of a Register that failed
	last  error                   // why it is not registered again; nil if that was not tried
	away  time.Time               // since when it is withdrawn
	ttl   time.Duration
	why   error // why it has ended
}

func newRegistration(c *checked, in registry.Instance) *registration {
	in.Meta = maps.Clone(in.Meta)
	r := &registration{
		c: c, in: in, said: errors.New("not checked yet"), turn: make(chan struct{}, 1), updating: make(chan struct{}, 1),
		first: make(chan struct{}), ended: make(chan struct{}), done: make(chan struct{}),
	}
	r.ctx, r.cancel = context.WithCancelCause(c.ctx)
	return r
}

// run brings the Registry to what the check says, until the registration ends. asked is the
// context of Register, which has no say any more once the Registry has confirmed: if both
// come at the same time, Register has succeeded.
func (r *registration) run(asked context.Context) {
	defer close(r.ended)
	var probing sync.WaitGroup
	defer probing.Wait()
	defer r.cancel(nil)
	probing.Go(func() { r.c.probe(r.ctx, r.checked, r.ails) })
	for {
		r.mu.Lock()
		cur, well := r.cur, r.well
		r.mu.Unlock()
		var over <-chan struct{}
		var err error
		switch {
		case well != nil && cur == nil:
			if err = r.announce(well, asked); err == nil && r.announced() {
				asked = context.WithoutCancel(asked)
				continue
			}
		case well == nil && cur != nil:
			r.withdraw(cur)
			continue
		case cur != nil:
			over = cur.Done()
		}
		if err != nil {
			r.end(err)
			return
		}
		select {
		case <-r.turn:
		case <-over:
			r.mu.Lock()
			sick := r.well == nil
			r.mu.Unlock()
			if !sick {
				r.end(cur.Err())
				return
			}
		case <-asked.Done():
			r.end(context.Cause(asked))
			return
		case <-r.ctx.Done():
			r.end(context.Cause(r.ctx))
			return
		}
	}
}

func (r *registration) announced() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cur != nil
}

// ails notes what the check has said while it is not well, which changes nothing.
func (r *registration) ails(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = err
}

// checked notes a change of health.
func (r *registration) checked(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said, r.last = err, nil
	if err == nil {
		r.well, r.sick = context.WithCancelCause(r.ctx)
	} else if r.sick != nil {
		r.sick(fmt.Errorf("%w: %w", ErrUnhealthy, err))
		r.well, r.sick = nil, nil
	}
	select {
	case r.turn <- struct{}{}:
	default:
	}
}

// announce registers the instance, while it is well, and until asked ends. An error ends
// the registration.
func (r *registration) announce(well, asked context.Context) error {
	ctx, cancel := context.WithCancelCause(well)
	defer cancel(nil)
	defer context.AfterFunc(asked, func() { cancel(context.Cause(asked)) })()
	r.mu.Lock()
	in, gen, left := r.in, r.gen, r.left
	r.mu.Unlock()
	if left != nil {
		if err := r.superseded(ctx, left); err != nil {
			return r.goesOn(well, err)
		}
	}
	r.mu.Lock()
	r.loose = true
	r.mu.Unlock()
	cur, err := r.c.Registry.Register(ctx, in)
	if err != nil {
		return r.goesOn(well, err)
	}
	since := r.takes(ctx, cur, gen)
	if left == nil {
		close(r.first)
	} else {
		r.c.opts.Logger.Info("registry: instance is well again: registered", "service", in.Service, "instance", in.ID,
			"after", time.Since(since).Round(time.Millisecond))
	}
	return nil
}

// takes makes cur, which has the metadata of gen, the current one. What has been asked for
// meanwhile is written first: an Update that finds cur is newer than all of that. It
// returns since when the instance was away.
func (r *registration) takes(ctx context.Context, cur registry.Registration, gen int) time.Time {
	for {
		r.mu.Lock()
		if r.gen == gen {
			defer r.mu.Unlock()
			since := r.away
			r.cur, r.ttl, r.away, r.loose = cur, cur.TTL(), time.Time{}, false
			return since
		}
		meta := r.in.Meta
		gen = r.gen
		r.mu.Unlock()
		_ = cur.Update(ctx, meta) // it stays wanted, and Err says if it is unconfirmed
	}
}

// superseded reports whether somebody else has the ID now. What is there may be our
// own record, if the withdrawal is unconfirmed or a Register has failed, whose outcome
// nobody knows, and is then at our address.
func (r *registration) superseded(ctx context.Context, left registry.Registration) error {
	in := left.Instance()
	ctx, cancel := context.WithTimeout(ctx, left.TTL())
	defer cancel()
	r.mu.Lock()
	unsure := r.loose
	r.mu.Unlock()
	unsure = left.Deregister(ctx) != nil || unsure
	list, err := r.c.Registry.Lookup(ctx, in.Service)
	if err != nil {
		return err
	}
	for _, other := range list {
		if other.ID == in.ID && !(unsure && other.Addr == in.Addr) {
			return &registry.Error{Op: "registration of", Service: in.Service, ID: in.ID, Err: registry.ErrSuperseded}
		}
	}
	return nil
}

// goesOn returns nil if there is another try after err: the instance has become
// unhealthy, or the registry refuses, or cannot be reached, for now. Before the first
// success the caller of Register is told instead.
func (r *registration) goesOn(well context.Context, err error) error {
	r.mu.Lock()
	again := r.left != nil
	r.last = err
	r.mu.Unlock()
	switch {
	case r.ctx.Err() != nil:
		return err
	case well.Err() != nil:
		return nil
	case !again, errors.Is(err, registry.ErrClosed), errors.Is(err, registry.ErrSuperseded):
		return err
	}
	pause := registry.MaxBackoff + rand.N(registry.MaxBackoff/2) // many may have been refused together
	time.AfterFunc(pause, func() {
		select {
		case r.turn <- struct{}{}:
		default:
		}
	})
	return nil
}

func (r *registration) withdraw(cur registry.Registration) {
	r.mu.Lock()
	r.cur, r.left, r.away = nil, cur, time.Now()
	said, in := r.said, r.in
	r.mu.Unlock()
	r.c.opts.Logger.Warn("registry: instance is unhealthy: withdrawn", "service", in.Service, "instance", in.ID, "err", said)
	ctx, cancel := context.WithTimeout(r.ctx, max(cur.TTL(), time.Second))
	defer cancel()
	_ = cur.Deregister(ctx) // unconfirmed: the record goes with the session
}

// end closes Done, with why.
func (r *registration) end(why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.why == nil {
		r.why = why
		close(r.done)
	}
	r.cancel(why)
}

// failure is why Register has failed.
func (r *registration) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.why
	if err == nil {
		err = context.Cause(r.ctx)
	}
	if r.well == nil && r.said != nil {
		err = fmt.Errorf("%w; %w: %w", err, ErrUnhealthy, r.said)
	}
	return err
}
