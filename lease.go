package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// renew keeps s alive: every third of its TTL, and sooner after a failure.
func (k *keeper) renew(ctx context.Context, s Session, sent time.Time, cancel context.CancelCauseFunc) {
	var pause backoff
	next := sent.Add(s.TTL() / 3)
	for sleep(ctx, time.Until(next)) {
		sent := time.Now()
		call, done := context.WithTimeout(ctx, s.TTL()/4)
		err := s.Renew(call)
		done()
		if ctx.Err() != nil {
			return
		}
		switch {
		case err == nil:
			pause.reset()
			k.renewed(s.TTL(), sent)
			next = sent.Add(s.TTL() / 3)
		case errors.Is(err, ErrSessionLost):
			cancel(err)
			return
		default:
			k.doubted(err)
			next = time.Now().Add(min(pause.next(), jitter(s.TTL()/8)))
		}
	}
}

func (k *keeper) renewed(ttl time.Duration, sent time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.doubt != nil {
		stop(&k.news.lapse)
		k.mu.say(slog.LevelInfo, "registry: session confirmed again", "registrations", k.registered(), "after", k.lasted())
	}
	k.ttl, k.proven, k.doubt = ttl, sent.Add(ttl), nil
	if time.Since(k.since) > 3*ttl {
		// A registry that has kept this session for so long has been there for long enough
		// to drop what an earlier one has left, which takes two TTLs at most.
		clear(k.left)
	}
}

func (k *keeper) doubted(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tell(Event{Kind: Retrying, Op: "renew", Err: err})
	if k.doubt == nil {
		k.troubled(k.proven.Add(-k.ttl))
		k.lapses()
		k.mu.say(slog.LevelWarn, "registry: session not renewed: trying again", "registrations", k.registered(),
			"since", k.news.since, "proven for", time.Until(k.proven).Round(time.Millisecond), "err", err)
	}
	k.doubt = err
}

// guard has records written again that the session has lost.
func (k *keeper) guard(ctx context.Context, s Session, cancel context.CancelCauseFunc) {
	var pause backoff
	failed := false
	var since time.Time
	for ctx.Err() == nil {
		began := time.Now()
		var back *time.Timer
		if failed {
			back = time.AfterFunc(s.TTL(), func() {
				k.c.log.Info("registry: what is registered is watched again", "after", time.Since(since).Round(time.Millisecond))
			})
		}
		err := s.Guard(ctx, k.lost)
		stop(&back)
		if errors.Is(err, ErrSessionLost) {
			cancel(err)
			return
		}
		if time.Since(began) > s.TTL() {
			pause.reset()
			failed = false
		}
		if ctx.Err() == nil {
			k.c.observe(Event{Kind: Retrying, Op: "guard", Err: err})
		}
		if permanent(err) && !failed { // else it is the link's trouble, which renewals report
			failed, since = true, time.Now()
			k.c.log.Warn("registry: cannot watch what is registered: trying again", "err", err)
		}
		sleep(ctx, pause.after(err))
	}
}

func (k *keeper) lost(service, id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e := k.entries[key{service, id}]; e != nil {
		if e.want != nil && e.held {
			e.wrong = time.Now()
			k.tell(Event{Kind: RecordLost, Service: service, ID: id, Err: errTaken})
			k.mu.say(slog.LevelWarn, "registry: record lost to somebody else: writing it again", "service", service, "instance", id)
		}
		e.held = false
		k.enqueue(e)
	}
}

// why says why r is not confirmed at the moment, or nil. k.mu is held.
func (k *keeper) why(r *registration) error {
	e := k.entries[r.key]
	switch {
	case e == nil || e.want != r:
		return ErrClosed
	case e.held && time.Now().Before(k.proven):
		return e.last // an update that the registry refuses
	case e.held:
		return fmt.Errorf("the session has not been confirmed for its TTL of %v: %w", k.ttl, orElse(k.doubt, errNotYet))
	case e.last != nil:
		return e.last
	}
	return orElse(k.doubt, errNotYet)
}

func orElse(err, other error) error {
	if err != nil {
		return err
	}
	return other
}
