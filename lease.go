package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// renew keeps s alive: every third of its TTL, and sooner after a failure.
func (k *keeper) renew(ctx context.Context, s Session, opened time.Time, cancel context.CancelCauseFunc) {
	var pause backoff
	next := opened.Add(s.TTL() / 3)
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
			if permanent(err) { // no sooner than it is renewed anyway, or than what is refused is tried
				next = time.Now().Add(min(pause.after(err), s.TTL()/3))
			}
		}
	}
}

func (k *keeper) renewed(ttl time.Duration, sent time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	doubted := k.doubt != nil
	k.ttl, k.proven, k.doubt = ttl, sent.Add(ttl), nil
	if doubted {
		k.timers.stop(&k.news.lapse)
		k.mu.say(slog.LevelInfo, "registry: session confirmed again", "registrations", k.registered(), "after", k.lasted())
	}
	if time.Since(k.since) > 5*ttl {
		// A registry that has kept this session for so long has been there for long enough
		// to drop what an earlier one has left, which takes two TTLs at most, and as long
		// again if its leader was replaced meanwhile.
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

// why says why r is not confirmed at the moment, or nil. k.mu is held.
func (k *keeper) why(r *registration) error {
	e := k.entries[r.key]
	switch {
	case e == nil || e.want != r:
		return ErrClosed
	case e.held && time.Now().Before(k.proven):
		return e.last // an update that is not confirmed
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
