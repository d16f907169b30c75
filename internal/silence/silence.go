// Package silence tells when the other end of a link has fallen silent.
package silence

import (
	"sync"
	"sync/atomic"
	"time"
)

// Enough is for how long callers must have waited in vain, in all, with no answer to anybody
// in between: less than any server is silent for while it lives. A caller in a hurry does not
// cost the others their link, and those who are so again and again do not keep a dead one.
const Enough = 250 * time.Millisecond

// A Line is one link. It is safe for concurrent use.
type Line struct {
	begun time.Time
	heard atomic.Int64 // when something came last: nanoseconds since begun; 0: nothing yet

	mu     sync.Mutex
	since  int64         // heard, when waited began
	waited time.Duration // in vain since then
	until  time.Time     // up to when waited counts
}

// Begin returns a Line of which nothing was heard yet.
func Begin() *Line { return &Line{begun: time.Now()} }

// Heard notes that something has come.
func (l *Line) Heard() { l.heard.Store(max(int64(time.Since(l.begun)), 1)) }

// New reports whether nothing has come yet.
func (l *Line) New() bool { return l.heard.Load() == 0 }

// InVain notes that what was sent then has waited until now, and reports whether the line is
// dead: nothing at all has come since, and the waiting, with that of others since something
// came, was long enough.
func (l *Line) InVain(sent time.Time) (dead bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	heard := l.heard.Load()
	if heard > 0 && heard >= int64(sent.Sub(l.begun)) {
		return false
	}
	if heard != l.since {
		l.since, l.waited = heard, 0
	}
	if l.until.After(sent) {
		sent = l.until // who waits at the same time as another waits once
	}
	l.until = time.Now()
	l.waited += max(l.until.Sub(sent), 0)
	return l.waited >= Enough
}
