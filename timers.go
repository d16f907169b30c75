package registry

import (
	"sync"
	"time"
)

// timers call functions later, with mu held. What owns them waits for those under way.
type timers struct {
	mu *logMutex
	sync.WaitGroup
}

// later has f called after d, unless *t is stopped before. mu is held.
func (ts *timers) later(t **time.Timer, d time.Duration, f func()) {
	var timer *time.Timer
	ts.Add(1)
	timer = time.AfterFunc(d, func() {
		defer ts.Done()
		ts.mu.Lock()
		defer ts.mu.Unlock()
		if *t == timer {
			f()
		}
	})
	*t = timer
}

// stop ends what later has begun, if it has. mu is held.
func (ts *timers) stop(t **time.Timer) {
	if *t != nil && (*t).Stop() {
		ts.Done() // it will not be called
	}
	*t = nil
}
