package consulreg

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/hashicorp/consul/api"
)

// A session owns keys: it has locked them, and the server deletes them when it
// ends.
type session struct {
	b  *Backend
	id string

	fences registry.Fences
	moves  uint64 // of a fence; for Put and Delete, which do not run at the same time

	mu        sync.Mutex
	ttl       time.Duration
	over      error                        // the server does not know it any more
	held      map[string]map[string]uint64 // by service and key: the index of our last writing
	listeners map[string]*listener         // by service: for Guard
	look      map[string]bool              // keys that Guard has yet to look at
	wake      chan struct{}                // capacity 1
}

// lockDelay is how long nobody can lock what an ended session had locked. Those
// who register again need not wait: they know what they replace. None at all is
// not to be had, as 0 means the default of 15 s.
const lockDelay = time.Millisecond

// NewSession grants what is asked for, between the session_ttl_min of the server,
// which is 10 s by default, and a day.
func (b *Backend) NewSession(ctx context.Context, ttl time.Duration) (registry.Session, error) {
	id, _, err := ask(b, func() (string, *api.WriteMeta, error) {
		entry := &api.SessionEntry{Name: "registry", Behavior: api.SessionBehaviorDelete, LockDelay: lockDelay, TTL: ttl.String(), NodeChecks: b.checks}
		if len(b.checks) == 0 {
			return b.client.Session().CreateNoChecks(entry, writing(ctx))
		}
		return b.client.Session().Create(entry, writing(ctx))
	})
	if err != nil {
		if strings.Contains(err.Error(), "Invalid Session TTL") {
			err = fmt.Errorf("%w TTL %v: %w", registry.ErrInvalid, ttl, err)
		}
		return nil, err
	}
	return &session{b: b, id: id, ttl: ttl, held: map[string]map[string]uint64{}, listeners: map[string]*listener{}, look: map[string]bool{}, wake: make(chan struct{}, 1)}, nil
}

func (s *session) String() string { return "session " + s.id }

func (s *session) TTL() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ttl
}

// Renew is answered by the leader: by one that has just started, before it knows what
// is in its log. So what it does not know is asked for once more, in a way that it
// answers when it does.
func (s *session) Renew(ctx context.Context) error {
	entry, _, err := ask(s.b, func() (*api.SessionEntry, *api.WriteMeta, error) {
		return s.b.client.Session().Renew(s.id, writing(ctx))
	})
	switch {
	case err != nil:
		return err
	case entry == nil:
		return s.unknown(ctx)
	}
	if ttl, err := time.ParseDuration(entry.TTL); err == nil && ttl > 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ttl = ttl
	}
	return nil
}

// unknown returns why a session was not renewed that the server did not know.
func (s *session) unknown(ctx context.Context) error {
	known, err := s.known(ctx)
	switch {
	case err != nil:
		return err
	case known:
		return fmt.Errorf("%v did not know %v, and does now: it has just started", s.b, s)
	}
	return s.ended(fmt.Errorf("%w: %v does not know %v any more", registry.ErrSessionLost, s.b, s))
}

// known reports whether the leader knows the session, once it knows what is in its log.
func (s *session) known(ctx context.Context) (bool, error) {
	entry, _, err := ask(s.b, func() (*api.SessionEntry, *api.QueryMeta, error) {
		return s.b.client.Session().Info(s.id, consistent(ctx))
	})
	return entry != nil, err
}

// ended notes that the session is over.
func (s *session) ended(why error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = why
	return why
}

func (s *session) state() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

// Close ends the session. The server's answer is the same if it knows no such session: if it
// was over, and if the leader has just started (see Renew). So it is asked whether it is gone,
// and once more to end it.
func (s *session) Close(ctx context.Context) error {
	if err := s.state(); err != nil {
		return err
	}
	for range 2 {
		_, _, err := ask(s.b, func() (struct{}, *api.WriteMeta, error) {
			meta, err := s.b.client.Session().Destroy(s.id, writing(ctx))
			return struct{}{}, meta, err
		})
		if err != nil {
			return err
		}
		known, err := s.known(ctx)
		if err != nil || !known {
			return err
		}
	}
	return fmt.Errorf("%v has ended %v, as it says, and still knows it", s.b, s)
}
