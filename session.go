package registry

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"
)

// run opens sessions, one after the other, while something is wanted. What was withdrawn
// while there is none is gone, but for what one whose end is unconfirmed has left.
func (k *keeper) run() {
	defer close(k.done)
	defer k.timers.Wait()
	ctx := k.c.ctx
	var pause backoff
	for {
		for !k.wanted() {
			select {
			case <-k.wake:
			case <-ctx.Done():
				return
			}
		}
		if ctx.Err() != nil {
			return
		}
		sent := time.Now()
		call, done := context.WithTimeout(ctx, k.c.patience())
		s, err := k.c.b.NewSession(call, k.c.opts.TTL)
		done()
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			k.refused(err)
			sleep(ctx, pause.after(err))
			continue
		}
		why := k.serve(s, sent)
		end, done := context.WithTimeout(context.Background(), k.c.patience()/2)
		err = s.Close(end)
		done()
		if errors.Is(err, ErrSessionLost) {
			err = nil // and with it all that it held
		}
		k.ended(s, why, err)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(why, errAbandoned) {
			continue
		}
		if time.Since(sent) > s.TTL()/3 {
			pause.reset() // a session that is lost as soon as it is made is no success
		}
		sleep(ctx, pause.next())
	}
}

// wanted reports whether something is to be registered, where there is no session.
func (k *keeper) wanted() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.entries) == 0 {
		k.ready, k.later = nil, nil
	}
	return len(k.entries) > 0
}

// refused notes that no session could be opened.
func (k *keeper) refused(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.troubled(time.Now())
	k.tell(Event{Kind: Retrying, Op: "session", Err: err})
	if !k.away {
		k.mu.say(slog.LevelWarn, "registry: no session can be opened: trying again", "registrations", k.registered(), "since", k.news.since, "err", err)
	}
	k.doubt, k.away = err, true
	if permanent(err) {
		for _, e := range k.entries {
			if !e.want.confirmed {
				k.finish(e, err)
			}
		}
	}
	// Of those that were given up meanwhile nobody is to keep a list.
	k.ready = slices.DeleteFunc(k.ready, func(e *entry) bool { return k.entries[e.key] != e })
}

// ended notes that the session is over: why, and why the server may not have ended it.
func (k *keeper) ended(s Session, why, unended error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.abandon = nil
	k.doubt = why
	k.timers.stop(&k.news.lapse)
	k.tell(Event{Kind: SessionOver, Err: why})
	if k.c.ctx.Err() != nil {
		for _, e := range k.entries {
			if e.there && unended != nil {
				k.leave(e, unended)
			}
			e.held = false
		}
		return
	}
	n := 0
	for _, e := range k.entries {
		if e.held {
			k.tell(Event{Kind: RecordLost, Service: e.service, ID: e.id, Err: why})
		}
		switch {
		case !e.there || unended == nil:
		case errors.Is(why, errAbandoned):
			k.leave(e, errAbandoned)
		default:
			k.leave(e, errUnended)
		}
		e.held, e.there, e.last, e.wrong = false, false, nil, time.Time{}
		if e.want != nil {
			n++
		} else {
			k.settle(e, nil, e.gen, nil)
		}
	}
	if n == 0 {
		k.news.since = time.Time{}
		k.mu.say(slog.LevelInfo, "registry: session given up: nothing is registered any more", "session", s.String(), "err", why)
		return
	}
	k.troubled(time.Now())
	k.mu.say(slog.LevelWarn, "registry: session over: opening another", "session", s.String(), "registrations", n, "since", k.news.since, "err", why)
}

// serve writes what is wanted under s until the session is lost or given up, or
// the Registry is closed, and returns which.
func (k *keeper) serve(s Session, sent time.Time) error {
	ctx, cancel := context.WithCancelCause(k.c.ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	k.opened(s, sent, cancel)
	wg.Go(func() { k.renew(ctx, s, sent, cancel) })
	wg.Go(func() { k.guard(ctx, s, cancel) })
	for ctx.Err() == nil {
		runtime.Gosched() // those that register at the same time go out together
		puts, dels, due := k.take()
		if len(puts)+len(dels) == 0 {
			k.rest(ctx, due)
			continue
		}
		call, done := context.WithTimeout(ctx, k.c.patience())
		if len(dels) > 0 {
			k.settleAll(dels, s.Delete(call, records(dels)), cancel)
		}
		if len(puts) > 0 {
			k.settleAll(puts, s.Put(call, records(puts)), cancel)
		}
		done()
	}
	return context.Cause(ctx)
}

// rest waits until there may be something to write.
func (k *keeper) rest(ctx context.Context, due time.Time) {
	var timer <-chan time.Time
	if !due.IsZero() {
		t := time.NewTimer(time.Until(due))
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-k.wake:
	case <-timer:
	case <-ctx.Done():
	}
}

// opened starts a session: everything is to be written under it.
func (k *keeper) opened(s Session, sent time.Time, cancel context.CancelCauseFunc) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ttl, k.proven = s.TTL(), sent.Add(s.TTL())
	k.since = time.Now()
	level := slog.LevelDebug
	if k.away {
		level = slog.LevelInfo
	}
	k.doubt, k.away = nil, false
	k.abandon = cancel
	again := 0
	for _, e := range k.entries {
		e.pause.reset()
		if e.want.confirmed {
			again++
		}
		k.enqueue(e)
	}
	k.tell(Event{Kind: SessionOpened})
	if k.news.again = again > 0; k.news.again {
		k.mu.say(slog.LevelInfo, "registry: session opened: registering again", "session", s.String(), "ttl", k.ttl, "registrations", again)
		return
	}
	args := []any{"session", s.String(), "ttl", k.ttl}
	if !k.news.since.IsZero() {
		args = append(args, "after", k.lasted())
	}
	k.mu.say(level, "registry: session opened", args...)
}
