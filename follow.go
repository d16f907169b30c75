package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// A View is the newest snapshot of a service, at hand at any moment: for programs
// that use the instances, where [Registry].Watch is for those that react to changes.
// All methods are safe for concurrent use.
type View struct {
	reg     Registry
	service string
	log     *slog.Logger

	ctx    context.Context // the view's life
	cancel context.CancelCauseFunc
	work   sync.WaitGroup

	now   atomic.Pointer[Snapshot]
	cache *cache // nil without one

	mu      sync.Mutex
	changed chan struct{} // closed at the next change; nil if nobody asked
	refused error         // why the last watch ended, while there is none
	endHold func()        // ends the wait for an empty set to be shown, if there is one; see holdBack
}

// FollowOptions configure a View. The zero value and nil work.
type FollowOptions struct {
	// Cache is a directory in which the last confirmed set is kept, in a file for
	// each service; none if empty. A View that starts while the registry is away
	// then begins with that set, marked as unconfirmed. If the registry then has
	// nobody, the set stays for as long as after any other outage: see
	// Snapshot.Err. Each registry needs a directory of its own, which is made, for this
	// user only, if it is not there. The file is replaced
	// as a whole, a second after a change, or when the View ends. One that cannot be read or
	// written is logged and does no harm; it is never taken for an empty set.
	Cache string

	// Logger receives a line when the registry refuses to be watched, when it no
	// longer does, and what is wrong with the cache. slog.Default if nil.
	Logger *slog.Logger
}

// Follow keeps a View of service in reg until ctx ends or the View is closed: ctx is
// not that of a request. It does not wait for the registry: [View.Wait] does. It
// fails only if service is no valid name.
func Follow(ctx context.Context, reg Registry, service string, opts *FollowOptions) (*View, error) {
	if err := checkName("service", service, false); err != nil {
		return nil, &Error{Op: "follow", Service: service, Err: err}
	}
	var o FollowOptions
	if opts != nil {
		o = *opts
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	v := &View{reg: reg, service: service, log: o.Logger.With("service", service)}
	v.ctx, v.cancel = context.WithCancelCause(ctx)
	v.now.Store(&Snapshot{Err: v.wrap(errUnknown)})
	if o.Cache != "" {
		v.cache = newCache(o.Cache, service, v.log)
		if snap, ok := v.cache.read(); ok {
			v.now.Store(&snap)
		}
		v.work.Go(v.cache.run)
	}
	v.work.Go(v.run)
	return v, nil
}

var errUnknown = errors.New("the registry has not answered yet")

// Service returns the name of the service that is followed.
func (v *View) Service() string { return v.service }

// Snapshot returns what is known now. It costs no lock and no allocation. Before
// there is a set, Confirmed is zero and Err says so: that is not an empty service.
// When the View has ended the last set stays, and Err says why it ended.
func (v *View) Snapshot() Snapshot { return *v.now.Load() }

// Age returns how long ago the registry confirmed the set last: 0 while it does, and
// while there is none.
func (v *View) Age() time.Duration {
	s := v.now.Load()
	if s.Err == nil || s.Confirmed.IsZero() {
		return 0
	}
	return max(time.Since(s.Confirmed), 0)
}

// Changed returns a channel that is closed at the next change of the Snapshot, and
// when the View ends. To miss none, call it before Snapshot.
func (v *View) Changed() <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.changed == nil {
		v.changed = make(chan struct{})
	}
	return v.changed
}

// Wait returns when there is a set, even an empty one or one from the cache.
// Otherwise its error says why: ctx has ended (with the last trouble with the
// registry), the registry refuses, or the View or the Registry was closed.
func (v *View) Wait(ctx context.Context) error {
	for {
		changed := v.Changed()
		if v.known() {
			return nil
		}
		if err := v.ended(); err != nil {
			return v.wrap(err)
		}
		v.mu.Lock()
		refused := v.refused
		v.mu.Unlock()
		if refused != nil {
			return refused
		}
		if err := v.await(ctx); err != nil {
			return err
		}
		select {
		case <-changed: // what await has seen comes here as well
		case <-ctx.Done():
			return v.wrap(context.Cause(ctx))
		}
	}
}

// await waits for the first set as one more reader of the same watch, which costs the
// registry nothing, and whose error says what the registry is waiting for.
func (v *View) await(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(v.ctx, func() { cancel(context.Cause(v.ctx)) })()
	for _, err := range v.reg.Watch(ctx, v.service) {
		return err
	}
	return v.wrap(errNoReason)
}

func (v *View) known() bool { return !v.now.Load().Confirmed.IsZero() }

// ended is why the view has ended, if it has.
func (v *View) ended() error { return context.Cause(v.ctx) }

func (v *View) wrap(err error) error {
	var e *Error
	if errors.As(err, &e) {
		return err
	}
	return &Error{Op: "follow", Service: v.service, Err: err}
}

// Close ends the View and returns when its goroutines have ended, and the cache is
// written. The Registry stays open.
func (v *View) Close() {
	v.cancel(ErrClosed)
	v.work.Wait()
}

// run follows the service. The Registry survives every outage; where it gives up all
// the same, as at a refusal, run begins again.
func (v *View) run() {
	if v.cache != nil {
		defer close(v.cache.news)
	}
	var pause backoff
	for {
		err := errNoReason
		own := false // what is shown is from this watch, and not from an earlier one or the cache
		for snap, e := range v.reg.Watch(v.ctx, v.service) {
			if e != nil {
				err = e
				break // always the last
			}
			pause.reset()
			if own = own || len(snap.Instances) > 0 || len(v.now.Load().Instances) == 0; own {
				v.show(snap)
			} else {
				v.holdBack(snap)
			}
		}
		if errors.Is(err, ErrClosed) {
			v.cancel(err) // that of the Registry, if not ours
		}
		if why := v.ended(); why != nil {
			v.lost(v.wrap(why))
			return
		}
		v.lost(v.wrap(err))
		sleep(v.ctx, pause.after(err))
	}
}

var errNoReason = errors.New("the registry's watch ended without a reason")

// show makes snap what the view shows.
func (v *View) show(snap Snapshot) {
	v.publish(snap, nil)
	v.keep(snap)
}

// holdBack takes an empty first set as a watch does one after an outage: the set from before
// stays until those who were cut off as well have had the time to register again, and the
// registry then says again that there is nobody.
func (v *View) holdBack(empty Snapshot) {
	kept := *v.now.Load()
	refused := permanent(kept.Err)
	if kept.Err = empty.Err; empty.Err != nil {
		v.publish(kept, nil) // nor does the registry know just now
		return
	}
	d := cmp.Or(empty.settling, settling(defaultTTL))
	if refused {
		d += afterRefusal
	}
	kept.Err = v.wrap(fmt.Errorf("nobody is registered: the last good set stays for %v, as they may register again", d))
	v.publish(kept, nil)
	v.log.Info("registry: nobody is registered: the last good set stays for a while", "instances", len(kept.Instances), "for", d)
	ctx, cancel := context.WithCancel(v.ctx)
	v.mu.Lock()
	v.endHold = cancel
	v.mu.Unlock()
	v.work.Go(func() {
		defer cancel()
		for sleep(ctx, d) {
			if list, err := v.reg.Lookup(ctx, v.service); err != nil || len(list) > 0 {
				continue // not certain, or to come by the watch
			}
			v.mu.Lock()
			defer v.mu.Unlock()
			if ctx.Err() == nil {
				empty.Confirmed = time.Now()
				v.set(empty)
				v.keep(empty)
			}
			return
		}
	})
}

func (v *View) keep(snap Snapshot) {
	if v.cache != nil {
		v.cache.put(snap)
	}
}

// lost keeps the set, with why it is not followed.
func (v *View) lost(err error) {
	snap := *v.now.Load()
	current := snap.Err == nil
	snap.Err = err
	if current {
		snap.Confirmed = time.Now() // until now, it was
		v.keep(snap)
	}
	v.publish(snap, err)
}

// set makes snap what Snapshot returns. v.mu is held.
func (v *View) set(snap Snapshot) {
	if v.endHold != nil {
		v.endHold()
		v.endHold = nil
	}
	v.now.Store(&snap)
	if v.changed != nil {
		close(v.changed)
		v.changed = nil
	}
}

func (v *View) publish(snap Snapshot, refused error) {
	v.mu.Lock()
	before := v.refused
	v.refused = refused
	v.set(snap)
	v.mu.Unlock()
	switch {
	case v.ctx.Err() != nil:
	case refused != nil && before == nil:
		v.log.Warn("registry: service cannot be followed: it is tried again", "err", refused)
	case refused == nil && before != nil:
		v.log.Info("registry: service is followed again", "instances", len(snap.Instances))
	}
}
