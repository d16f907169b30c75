package registry

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

var (
	errUnanswered = errors.New("the registry does not answer")
	errMissed     = errors.New("the watch missed a change")
	errBarren     = errors.New("the registry answers, and does not bring the set")
)

// attempt is one Watch of the backend, verified while it lasts. It returns why
// it ended.
func (w *watch) attempt() error {
	ctx, cancel := context.WithCancelCause(w.ctx)
	var wg sync.WaitGroup
	s := &sink{w: w, cancel: cancel, start: time.Now()}
	var verdict error
	if !w.c.opts.NoVerify {
		wg.Go(func() {
			verdict = w.verify(ctx, s)
			if verdict != nil {
				cancel(verdict)
			}
		})
	}
	err := w.c.b.Watch(ctx, w.service, s)
	if cause := context.Cause(ctx); cause != nil {
		err = cause // the reason, where Watch can only tell that ctx ended
	}
	cancel(nil)
	wg.Wait()
	if verdict != nil {
		err = verdict // it may have had the link dropped, which Watch saw first
	}
	if err == nil {
		err = errors.New("the backend's watch ended without a reason")
	}
	return err
}

// barren reports whether s has waited for its set for too long. A server may keep one
// request and answer the others; but a large set takes its time, so that the next
// attempt has twice as long.
func (w *watch) barren(s *sink) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.patience = max(w.patience, w.c.opts.TTL/2)
	if s.begun || time.Since(s.start) < w.patience {
		return false
	}
	w.patience = min(2*w.patience, 16*w.c.opts.TTL)
	return true
}

// firstLook is how long an attempt may wait before the registry is asked. One that
// follows a break is not to begin to count anew: the registry may have been silent
// before.
func (w *watch) firstLook() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	ttl := w.c.opts.TTL
	if !w.known || w.trouble != nil {
		return ttl / 2
	}
	return max(time.Until(w.confirmed.Add(ttl/2)), 0)
}

// verify asks twice every TTL whether the set that is shown is still the registry's,
// and returns why the attempt is to end: it is not, none comes, or nobody answers. So a
// half-open link is noticed within 2/3 TTL, and a lost event within one. Where ctx ends
// first it returns nil.
//
// The link's other news are a sign of life that lets an answer take up to TTL/3, but no
// more: what follows it on the same link is as late. So nothing is shown as confirmed
// that is older than 5/6 TTL, from one question to the end of the next.
func (w *watch) verify(ctx context.Context, s *sink) error {
	ttl := w.c.opts.TTL
	asked := time.Now().Add(w.firstLook() - ttl/2)
	for sleep(ctx, time.Until(asked.Add(ttl/2))) {
		var doubted uint64 // how far the set was when its version was another for the first time
		for doubts := 0; ; doubts++ {
			w.mu.Lock()
			version, brought, begun := w.version, w.brought, s.begun
			heard := time.Until(w.confirmed.Add(ttl * 2 / 3))
			w.mu.Unlock()
			asked = time.Now()
			call, done := context.WithTimeout(ctx, min(max(ttl/6, heard), ttl/3))
			same, err := w.c.b.Current(call, w.service, version)
			done()
			if errors.Is(err, context.DeadlineExceeded) {
				return fmt.Errorf("%w: %w", errUnanswered, err)
			}
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return err
			}
			if !begun {
				if w.barren(s) {
					return errBarren
				}
				break // it answers; there is no set to compare yet
			}
			w.mu.Lock()
			w.answered = asked
			moved := w.brought != brought
			if same && !moved {
				w.agreed = asked
				if w.emptied == nil {
					w.confirmed = time.Now()
				}
			}
			w.mu.Unlock()
			if same || moved || doubts > 0 && brought != doubted {
				break
			}
			// The news may be under way. If it has not come by the next look, at
			// a set that did not move in between, it was lost.
			doubted = brought
			if doubts > 0 {
				w.c.log.Warn("registry: watch missed a change: reading the whole set again", "service", w.service)
				return errMissed
			}
			if !sleep(ctx, ttl/6) {
				return nil
			}
		}
	}
	return nil
}
