package otelreg

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/go-rollcall/registry"
)

// Registry returns reg with its calls counted. Closing it closes reg.
func (m *Meter) Registry(reg registry.Registry) registry.Registry {
	r := &metered{Registry: reg, m: m, held: map[registry.Registration]string{}, watched: map[string]*watched{}}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.regs[r] = true
	return r
}

type metered struct {
	registry.Registry
	m *Meter

	mu      sync.Mutex
	held    map[registry.Registration]string // the service of each
	purge   int                              // how many of held there may be before those that ended are let go
	watched map[string]*watched
}

// watched is what the readers of a service have seen last.
type watched struct {
	readers int
	snap    registry.Snapshot
	known   bool
	since   time.Time // of the first reader
	refused time.Time // when the last reader went as the Registry refused; zero while there are any
}

// forgotten reports whether whoever was refused has not come back: a View does within one
// and a half of registry.MaxBackoff.
func (w *watched) forgotten() bool {
	return !w.refused.IsZero() && time.Since(w.refused) > 2*registry.MaxBackoff
}

// age is how long ago the set was confirmed last: 0 while it is. Where there was never
// one, it is as old as the wish for it.
func (w *watched) age() time.Duration {
	switch {
	case !w.known:
		return time.Since(w.since)
	case w.snap.Err != nil:
		return time.Since(w.snap.Confirmed)
	}
	return 0
}

func (r *metered) Register(ctx context.Context, in registry.Instance) (registry.Registration, error) {
	start := time.Now()
	reg, err := r.Registry.Register(ctx, in)
	r.m.called("register", start, err)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held[reg] = in.Service
	if len(r.held) > r.purge {
		r.ended()
		r.purge = 2*len(r.held) + 16
	}
	return &registration{reg, r}, nil
}

// ended lets go of registrations that have ended. r.mu is held.
func (r *metered) ended() {
	for reg := range r.held {
		select {
		case <-reg.Done():
			delete(r.held, reg)
		default:
		}
	}
}

func (r *metered) Lookup(ctx context.Context, service string) ([]registry.Instance, error) {
	start := time.Now()
	list, err := r.Registry.Lookup(ctx, service)
	r.m.called("lookup", start, err)
	return list, err
}

func (r *metered) Services(ctx context.Context) ([]string, error) {
	start := time.Now()
	names, err := r.Registry.Services(ctx)
	r.m.called("services", start, err)
	return names, err
}

func (r *metered) Watch(ctx context.Context, service string) iter.Seq2[registry.Snapshot, error] {
	return func(yield func(registry.Snapshot, error) bool) {
		start, first := time.Now(), true
		var ended error
		w := r.come(service)
		defer func() {
			r.leave(service, w, ended != nil && ctx.Err() == nil && !errors.Is(ended, registry.ErrClosed))
		}()
		for snap, err := range r.Registry.Watch(ctx, service) {
			if first {
				r.m.called("watch", start, err)
				first = false
			}
			if ended = err; err == nil {
				r.mu.Lock()
				w.snap, w.known = snap, true
				r.mu.Unlock()
			}
			if !yield(snap, err) {
				return
			}
		}
	}
}

// come adds a reader of service.
func (r *metered) come(service string) *watched {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.watched[service]
	if w == nil || w.forgotten() {
		w = &watched{since: time.Now()}
		r.watched[service] = w
	}
	w.readers++
	w.refused = time.Time{}
	return w
}

// leave takes one away. A service that nobody reads is forgotten, but not at once if that
// is since the Registry refuses: there is somebody who wants to.
func (r *metered) leave(service string, w *watched, refused bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch w.readers--; {
	case w.readers > 0:
	case refused && !w.known:
		w.refused = time.Now()
	default:
		delete(r.watched, service)
	}
}

func (r *metered) Close() error {
	start := time.Now()
	err := r.Registry.Close()
	r.m.called("close", start, err)
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	delete(r.m.regs, r)
	return err
}

// A registration counts the calls of one.
type registration struct {
	registry.Registration
	r *metered
}

func (g *registration) Update(ctx context.Context, meta map[string]string) error {
	start := time.Now()
	err := g.Registration.Update(ctx, meta)
	g.r.m.called("update", start, err)
	return err
}

func (g *registration) Deregister(ctx context.Context) error {
	start := time.Now()
	err := g.Registration.Deregister(ctx)
	g.r.m.called("deregister", start, err)
	return err
}

type stateOf struct{ service, state string }

// gauges are the sums over all Registries of a Meter.
type gauges struct {
	registrations map[stateOf]int64
	instances     map[string]int64
	age           map[string]time.Duration // of the oldest
}

func (m *Meter) gauges() gauges {
	g := gauges{map[stateOf]int64{}, map[string]int64{}, map[string]time.Duration{}}
	m.mu.Lock()
	defer m.mu.Unlock()
	for r := range m.regs {
		r.mu.Lock()
		r.ended()
		for reg, service := range r.held {
			s := stateOf{m.label(service), "confirmed"}
			if reg.Err() != nil {
				s.state = "unconfirmed"
			}
			g.registrations[s]++
		}
		own := map[string]int64{}
		for name, w := range r.watched {
			if w.forgotten() {
				delete(r.watched, name)
				continue
			}
			s := m.label(name)
			g.age[s] = max(g.age[s], w.age())
			if w.known {
				own[s] += int64(len(w.snap.Instances))
			}
		}
		for s, n := range own { // the same service in two Registries is not twice as many
			g.instances[s] = max(g.instances[s], n)
		}
		r.mu.Unlock()
	}
	return g
}
