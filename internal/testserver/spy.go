package testserver

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/go-rollcall/registry"
)

// A Spy is a Backend that remembers its sessions, for EndSession. It is safe for
// concurrent use.
type Spy struct {
	registry.Backend

	mu  sync.Mutex
	ids []string
}

// NewSession is that of the Backend.
func (s *Spy) NewSession(ctx context.Context, ttl time.Duration) (registry.Session, error) {
	session, err := s.Backend.NewSession(ctx, ttl)
	if err == nil {
		words := strings.Fields(session.String()) // "lease 694d9b2a"
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ids = append(s.ids, words[len(words)-1])
	}
	return session, err
}

// Sessions returns the IDs by which the server knows, or knew, the sessions.
func (s *Spy) Sessions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.ids...)
}
