package memreg

import (
	"errors"
	"sync"
	"time"
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

// Save keeps what the store has now. What it returns puts that back, in place of
// whatever has come since, as a registry is restored from a backup: links break,
// versions begin again where they were, sessions that have been opened since are
// unknown, and those that have ended since are there again, with their whole TTL.
func (s *Store) Save() (restore func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	saved := s.copy()
	return func() {
		s.servers.change(func() { s.servers.breaks++ })
		s.mu.Lock()
		defer s.mu.Unlock()
		s.putBack(saved)
	}
}

// A state is what a store has at a time.
type state struct {
	services map[string]service
	sessions map[*session]bool
}

// serves reports whether time counts for sessions.
func (s *servers) serves() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.down
}

// copy returns the present state; s.mu is held.
func (s *Store) copy() state {
	c := state{map[string]service{}, map[*session]bool{}}
	for path, v := range s.services {
		saved := service{records: map[string]record{}, version: v.version}
		for id, r := range v.records {
			saved.records[id] = r
		}
		c.services[path] = saved
	}
	for ss := range s.sessions {
		c.sessions[ss] = true
	}
	return c
}

// putBack makes c the state; s.mu is held.
func (s *Store) putBack(c state) {
	for ss := range s.sessions {
		ss.timer.Stop()
		ss.over = true
		for r := range ss.records {
			ss.lost = append(ss.lost, r) // to be looked for again, if it is not over
		}
		clear(ss.records)
		signal(ss.wake)
	}
	clear(s.sessions)
	for ss := range c.sessions {
		ss.over = false
		s.sessions[ss] = true
		ss.extend()
	}
	for path, v := range s.services { // watchers of links that broke may still be there
		v.version = c.services[path].version
		clear(v.records)
		for id, r := range c.services[path].records {
			v.records[id] = r
			if r.owner != nil {
				r.owner.records[[2]string{path, id}] = true
			}
		}
	}
}

// extend gives the session its whole TTL again; the store's mutex is held.
func (ss *session) extend() {
	ss.expires = time.Now().Add(ss.ttl)
	ss.timer.Reset(ss.ttl)
}
