package registry

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// A watch is what all readers of one service share: one Watch of the backend,
// the set that it has brought, and the last snapshot made of it. Its run
// goroutine keeps the backend's Watch going; readers build snapshots.
type watch struct {
	c       *core
	service string
	ctx     context.Context // ends with the last reader, or with the Registry
	cancel  context.CancelCauseFunc
	over    chan struct{} // closed when run has returned
	readers int           // guarded by c.mu

	mu        logMutex
	set       map[string]member // by record ID
	stale     map[string]bool   // IDs in which snap differs from set
	snap      Snapshot
	skipped   int
	known     bool          // a first set has come
	version   string        // the backend's, of the newest set
	brought   uint64        // sets and changes that the backend has brought
	patience  time.Duration // how long an attempt may take to bring a set, where the registry answers
	confirmed time.Time
	trouble   error             // what Snapshot.Err shows
	since     time.Time         // since when a line has said that the set is not confirmed
	shown     *time.Timer       // will set trouble, unless the watch comes back before
	broke     time.Time         // when an attempt failed for the first time since it was confirmed
	answered  time.Time         // when the registry was asked what it has answered last
	agreed    time.Time         // when it was asked whether version is its own, and has said so
	emptied   *time.Timer       // will empty the set, unless an instance comes before; see holdBack
	rest      map[string]Record // what the set then has: records that are no instances; nil: nothing is held back
	owed      time.Time         // by when whoever lives is back, while emptied is set
	timers    timers
	rev       uint64        // changes whenever readers have something new to see
	changed   chan struct{} // closed at the next change of rev; nil if nobody waits
	last      error         // the newest failure since the set was confirmed, if it ever was
	final     error         // why the watch is over
}

func newWatch(c *core, service string) *watch {
	w := &watch{c: c, service: service, over: make(chan struct{}), set: map[string]member{}, stale: map[string]bool{}}
	w.mu.log = c.log
	w.timers.mu = &w.mu
	w.ctx, w.cancel = context.WithCancelCause(c.ctx)
	return w
}

// next waits for something newer than rev seen, and returns it.
func (w *watch) next(ctx context.Context, seen uint64) (Snapshot, uint64, error) {
	for {
		w.mu.Lock()
		var err error
		switch {
		case w.c.ctx.Err() != nil:
			err = ErrClosed
		case ctx.Err() != nil:
			var last error
			if !w.known {
				last = w.last
			}
			err = w.c.ended(ctx, last)
		case w.final != nil:
			err = w.final
		case w.known && w.rev != seen:
			snap, rev := w.snapshot(), w.rev
			w.mu.Unlock()
			return snap, rev, nil
		}
		if w.changed == nil {
			w.changed = make(chan struct{})
		}
		changed := w.changed
		w.mu.Unlock()
		if err != nil {
			return Snapshot{}, seen, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
		case <-w.c.ctx.Done():
		}
	}
}

// bump tells the readers that there is something new. w.mu is held.
func (w *watch) bump() {
	w.rev++
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}

// confirm notes that the set is the registry's as of now. w.mu is held.
func (w *watch) confirm(version string, changed bool) {
	w.version = version
	w.brought++
	w.last = nil
	w.confirmed = time.Now()
	w.broke = time.Time{}
	w.timers.stop(&w.shown)
	w.timers.stop(&w.emptied)
	if !w.known || changed || w.trouble != nil {
		if !w.since.IsZero() {
			w.mu.say(slog.LevelInfo, "registry: watch confirmed again", "service", w.service, "instances", len(w.set)-w.skipped,
				"after", time.Since(w.since).Round(time.Millisecond))
			w.since = time.Time{}
		}
		w.known, w.trouble = true, nil
		w.bump()
	}
}

// troubled notes that the set is no longer confirmed, and reports whether that
// ends the watch: a refusal before the first set does. Readers are told at once
// if it is not to pass by itself, and otherwise when it has lasted: a link that
// breaks and comes back is none of their business.
func (w *watch) troubled(err error) (over bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timers.stop(&w.emptied) // what was not believed then is not known to be so any more
	switch {
	case !w.known && permanent(err):
		w.final = err
		w.bump()
		return true
	case !w.known:
		if w.since.IsZero() {
			w.since = time.Now()
			w.mu.say(slog.LevelWarn, "registry: watch has no first set yet: trying again", "service", w.service, "err", err)
		}
		w.last = err
	case permanent(err) || errors.Is(err, errUnanswered) || w.trouble != nil:
		w.show(err)
	default:
		w.last = err
		if w.shown == nil {
			w.broke = time.Now()
			w.timers.later(&w.shown, w.c.opts.TTL, func() { w.show(w.last) })
		}
	}
	return false
}

// show makes err the state that readers see. Once they see one, only a refusal
// of another kind replaces it: they are told of changes, not of tries. w.mu is
// held.
func (w *watch) show(err error) {
	w.timers.stop(&w.shown)
	if kind := refusalOf(err); w.trouble == nil || kind != nil && kind != refusalOf(w.trouble) {
		if w.since.IsZero() {
			w.since = w.confirmed
		}
		w.mu.say(slog.LevelWarn, "registry: watch not confirmed: the last good set stays", "service", w.service,
			"instances", len(w.set)-w.skipped, "since", w.since, "err", err)
		err = w.c.wrap("watch", w.service, "", err)
		w.trouble = err
		w.bump()
	}
}

// run keeps the backend's Watch going until w.ctx ends, or the registry refuses
// before it has ever answered.
func (w *watch) run() {
	defer w.cancel(nil)
	defer func() {
		w.mu.Lock()
		w.timers.stop(&w.shown)
		w.timers.stop(&w.emptied)
		w.mu.Unlock()
		w.timers.Wait() // one may be about to say something
	}()
	var pause backoff
	for w.ctx.Err() == nil {
		before, began := w.progress(), time.Now()
		err := w.attempt()
		if w.ctx.Err() != nil {
			return
		}
		if w.progress() != before && time.Since(began) > w.c.opts.TTL/3 {
			pause.reset() // a watch that ends as soon as it has brought a set is no success
		}
		w.c.observe(Event{Kind: Retrying, Op: "watch", Service: w.service, Err: err})
		if w.troubled(err) {
			return
		}
		d := pause.after(err)
		if errors.Is(err, ErrTooLarge) {
			d = max(d, w.c.opts.TTL) // it is the whole set that is read again
		}
		sleep(w.ctx, d)
	}
}

func (w *watch) progress() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.brought
}
