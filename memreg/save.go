package memreg

// Save keeps what the store has now. What it returns puts that back, in place of
// whatever has come since, as a registry is restored from a backup: links break,
// versions begin again where they were, sessions that have been opened since are
// unknown, and those that have ended since are there again, with their whole TTL.
func (s *Store) Save() (restore func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	saved := s.copy()
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.putBack(saved)
		s.servers.change(func() { s.servers.breaks++ }) // before anybody sees what was put back
	}
}

// A state is what a store has at a time.
type state struct {
	services map[string]service
	sessions map[*session]bool
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
	for path, v := range s.services {
		for w := range v.watchers { // one may be about to look, and not notice that its link broke
			for _, records := range []map[string]record{v.records, c.services[path].records} {
				for id := range records {
					w.changed[id] = true
				}
			}
		}
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
