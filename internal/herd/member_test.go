package herd_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/go-rollcall/registry"
)

// A member is a Registry of the herd: it has registered some instances, and watches
// a service that all watch.
type member struct {
	registry.Registry
	regs []registry.Registration
	stop context.CancelFunc
	done sync.WaitGroup
	view chan struct{} // closed when the watch has shown something

	mu      sync.Mutex
	trouble error // of the watch; nil if it is confirmed
}

// join makes a member, and returns when all that it registers is.
func (h *herd) join(ctx context.Context, i int) (*member, error) {
	m := &member{view: make(chan struct{})}
	b := &counted{Backend: h.b.open(h.server.Addr(), h.gate), h: h, i: i}
	m.Registry = registry.New(b, &registry.Options{TTL: ttl, Logger: slog.New(slog.DiscardHandler)})
	var watching context.Context
	watching, m.stop = context.WithCancel(context.Background())
	m.done.Go(func() { m.watch(watching) })
	errs := make([]error, *instances)
	m.regs = make([]registry.Registration, *instances)
	var wg sync.WaitGroup
	for k := range m.regs {
		wg.Go(func() {
			in := registry.Instance{Service: service(k % *services), ID: fmt.Sprintf("%d-%d", i, k), Addr: fmt.Sprintf("10.0.%d.%d:%d", i/250, i%250, 8000+k)}
			m.regs[k], errs[k] = m.Register(ctx, in)
		})
	}
	wg.Wait()
	select {
	case <-m.view:
	case <-ctx.Done():
		errs = append(errs, fmt.Errorf("nothing is shown of %s: %w", common, context.Cause(ctx)))
	}
	return m, errors.Join(errs...)
}

func (m *member) watch(ctx context.Context) {
	first := true
	for snap, err := range m.Watch(ctx, common) {
		if err == nil {
			err = snap.Err
		}
		if err == nil && len(snap.Instances) != 1 {
			err = fmt.Errorf("%d instances, want one", len(snap.Instances))
		}
		m.mu.Lock()
		m.trouble = err
		m.mu.Unlock()
		if first {
			close(m.view)
			first = false
		}
	}
}

// err says what is wrong with the member at the moment.
func (m *member) err() error {
	for _, r := range m.regs {
		if err := r.Err(); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.trouble
}

func (m *member) leave() error {
	m.stop()
	m.done.Wait()
	return m.Close()
}

// counted is the backend of a member, which tells the herd what it asks of the
// server, and when that has confirmed what the member has registered.
type counted struct {
	registry.Backend
	h *herd
	i int
}

func (b *counted) NewSession(ctx context.Context, ttl time.Duration) (registry.Session, error) {
	b.h.tally.add(sessions)
	s, err := b.Backend.NewSession(ctx, ttl)
	if err != nil {
		return nil, err
	}
	return &countedSession{Session: s, b: b, held: map[string]bool{}}, nil
}

type countedSession struct {
	registry.Session
	b *counted

	mu   sync.Mutex
	held map[string]bool // by ID: what the server has confirmed to this session
}

// note takes the outcome of a Put, and reports whether the session holds all that the
// member registers. It does not after a failure: of a session that is lost, say.
func (s *countedSession) note(recs []registry.Record, errs []error) (whole bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, rec := range recs {
		if errs == nil || errs[i] == nil {
			s.held[rec.ID] = true
		} else {
			delete(s.held, rec.ID)
		}
	}
	return len(s.held) == *instances
}

func (s *countedSession) Renew(ctx context.Context) error {
	sent := time.Now()
	err := s.Session.Renew(ctx)
	if err == nil && s.note(nil, nil) {
		s.b.h.confirmed(s.b.i, sent, false)
	}
	return err
}

func (s *countedSession) Put(ctx context.Context, recs []registry.Record) []error {
	s.b.h.tally.add(writes)
	sent := time.Now()
	errs := s.Session.Put(ctx, recs)
	if s.note(recs, errs) {
		s.b.h.confirmed(s.b.i, sent, true)
	}
	return errs
}
