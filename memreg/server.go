package memreg

import (
	"errors"
	"sync"
)

// Members is how many servers a Store stands for. They are one registry, which
// serves as long as most of them reach each other. A [Conn] uses one at a time.
const Members = 3

var (
	errDown     = errors.New("memreg: the store is down")
	errNoLeader = errors.New("memreg: this member is cut off from the others")
)

// servers is how the members of a store are.
type servers struct {
	mu      sync.Mutex
	down    bool
	paused  bool
	away    [Members]bool
	breaks  int           // how often all links broke
	changed chan struct{} // closed and made anew when one of these changes
}

func (s *servers) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

// Stop ends all members without warning: links break, and every call fails until
// Start. What they store is kept. No session ends meanwhile.
func (s *Store) Stop() {
	s.servers.change(func() { s.servers.down = true; s.servers.breaks++ })
}

// Start undoes Stop, and gives every session its whole TTL again, as registries do
// when they start and when another member comes to lead. So Stop, and Start after
// a while, is an election as well.
func (s *Store) Start() {
	s.mu.Lock()
	for ss := range s.sessions {
		ss.extend()
	}
	s.mu.Unlock()
	s.servers.change(func() { s.servers.down = false })
}

// Pause holds all members where they are, until Continue: links stay, and nobody
// answers. Time goes on: sessions that are not renewed end.
func (s *Store) Pause() { s.servers.change(func() { s.servers.paused = true }) }

// Continue undoes Pause.
func (s *Store) Continue() { s.servers.change(func() { s.servers.paused = false }) }

// Isolate parts a member, from 0 to Members-1, from the others. Whoever uses it gets
// no news there and is refused, and so comes to use another one.
func (s *Store) Isolate(member int) { s.servers.change(func() { s.servers.away[member] = true }) }

// Reunite undoes Isolate for all members.
func (s *Store) Reunite() { s.servers.change(func() { clear(s.servers.away[:]) }) }

// serves reports whether time counts for sessions.
func (s *servers) serves() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.down
}
