package conformance

import (
	"time"

	"github.com/go-rollcall/registry/internal/measured"
)

// A wait is how long a case has waited for something, and for how long it may, not
// counting the slack.
type wait struct{ took, bound time.Duration }

// share is the part of the bound that it took.
func (w wait) share() float64 {
	if w.bound <= 0 {
		return 0
	}
	return float64(w.took) / float64(w.bound)
}

// waited notes the end of a wait, and keeps that which came closest to its bound.
func (e *env) waited(begin time.Time, bound time.Duration) {
	now := wait{time.Since(begin), bound}
	e.mu.Lock()
	defer e.mu.Unlock()
	if now.share() >= e.longest.share() {
		e.longest = now
	}
}

// report tells what was measured.
func (e *env) report() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.longest.bound > 0 {
		measured.Wait(e.T, e.longest.took, e.longest.bound)
	}
}
