package memreg

import "slices"

// Reach lets the client reach these members only, of 0 to Members-1, until Heal, which
// has it reach all. A link to another breaks.
func (c *Conn) Reach(members ...int) {
	c.change(func() {
		for m := range c.out {
			c.out[m] = !slices.Contains(members, m)
		}
		if c.out[c.member] {
			c.move()
		}
	})
}

// move breaks the link, and has the next one go to the next member that can be
// reached; c.mu is held.
func (c *Conn) move() {
	c.breaks++
	for range Members {
		c.member = (c.member + 1) % Members
		if !c.out[c.member] {
			return
		}
	}
}

// leave gives up a member that has lost the others, unless that was done already.
func (c *Conn) leave(member int) {
	c.change(func() {
		if c.member == member {
			c.move()
		}
	})
}

// A link is what a client meets at a moment: its own way to the store, and the
// members of that.
type link struct {
	cut, frozen, mute bool
	alone             bool // the member in use has lost the others
	down, denied      bool
	member            int
	breaks            int
	own, servers      <-chan struct{} // closed when one of these changes
}

// link returns the present state.
func (c *Conn) link() link {
	c.mu.Lock()
	l := link{cut: c.cut || c.out[c.member], frozen: c.frozen, mute: c.mute, denied: c.denied, member: c.member, breaks: c.breaks, own: c.changed}
	c.mu.Unlock()
	s := &c.store.servers
	s.mu.Lock()
	defer s.mu.Unlock()
	l.down, l.frozen, l.alone = s.down, l.frozen || s.paused, s.away[l.member]
	l.breaks += s.breaks
	l.servers = s.changed
	return l
}
