package health

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/go-rollcall/registry"
)

// What the user calls.

func (r *registration) Instance() registry.Instance {
	r.mu.Lock()
	defer r.mu.Unlock()
	in := r.in
	in.Meta = maps.Clone(in.Meta)
	return in
}

func (r *registration) Update(ctx context.Context, meta map[string]string) error {
	in := r.Instance()
	in.Meta = maps.Clone(meta)
	invalid := in.Validate()
	if invalid == nil {
		select { // what is the last here is to be the last there
		case r.updating <- struct{}{}:
			defer func() { <-r.updating }()
		case <-ctx.Done(): // what is asked for in vain is still wanted
		case <-r.done:
		}
	}
	r.mu.Lock()
	cur, why := r.cur, r.why
	if why == nil && invalid == nil {
		r.in = in
		r.gen++
	}
	r.mu.Unlock()
	switch {
	case cur != nil:
		err := cur.Update(ctx, meta)
		if errors.Is(err, registry.ErrClosed) && r.withdrawn(cur) {
			return r.later()
		}
		return err
	case why != nil:
		return r.wrap("update", why)
	case invalid != nil:
		return invalid
	default:
		return r.later()
	}
}

// withdrawn reports whether cur was, and the registration goes on.
func (r *registration) withdrawn(cur registry.Registration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.why == nil && r.cur != cur
}

// later is the error of an Update while the instance is withdrawn.
func (r *registration) later() error {
	err := r.Err()
	if err == nil {
		return nil // it is back, with what was asked for
	}
	return r.wrap("update", fmt.Errorf("it is announced when the instance is back: %w", err))
}

func (r *registration) Deregister(ctx context.Context) error {
	r.end(registry.ErrClosed)
	select {
	case <-r.ended:
		return r.leave(ctx)
	case <-ctx.Done():
		r.c.start(func() { // it is not wanted any more, whether or not anybody waits for that
			<-r.ended
			_ = r.leave(ctx)
		})
		return r.wrap("deregister", context.Cause(ctx))
	}
}

// leave withdraws what run has left behind.
func (r *registration) leave(ctx context.Context) error {
	r.mu.Lock()
	last, loose := r.cur, r.loose && r.left != nil
	if last == nil {
		last = r.left
	}
	r.mu.Unlock()
	if last == nil {
		return nil
	}
	if err := last.Deregister(ctx); err != nil || !loose {
		return err
	}
	return r.wrap("deregister", errors.New("a try to register again has failed, and may have left a record: it goes with its session"))
}

func (r *registration) Done() <-chan struct{} { return r.done }

func (r *registration) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.why != nil:
		return r.wrap("registration of", r.why)
	case r.well == nil:
		return r.wrap("registration of", fmt.Errorf("%w: %w", ErrUnhealthy, r.said))
	case r.cur == nil && r.last != nil:
		return r.wrap("registration of", fmt.Errorf("well, and not registered again yet: %w", r.last))
	case r.cur == nil:
		return r.wrap("registration of", errors.New("well, and not registered again yet"))
	}
	return r.cur.Err()
}

func (r *registration) TTL() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cur != nil {
		return r.cur.TTL()
	}
	return r.ttl
}

func (r *registration) wrap(op string, err error) error {
	var e *registry.Error
	if errors.As(err, &e) {
		return err
	}
	return &registry.Error{Op: op, Service: r.in.Service, ID: r.in.ID, Err: err}
}
