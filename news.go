package registry

import (
	"log/slog"
	"time"
)

// news is what the keeper has told of an outage, so that each line comes once, and
// the last one says how long it took. Guarded by the keeper's mutex.
type news struct {
	since time.Time   // when the session was last confirmed; zero: nothing is wrong
	lapse *time.Timer // will tell that the proof of life has run out
	again bool        // registrations are being written again
}

// troubled notes that something is wrong since the session was last confirmed, or
// since now. k.mu is held.
func (k *keeper) troubled(since time.Time) {
	if k.news.since.IsZero() {
		k.news.since = since
	}
}

// lapses tells when nothing proves any more that the session lives. k.mu is held.
func (k *keeper) lapses() {
	k.timers.later(&k.news.lapse, time.Until(k.proven), func() {
		k.news.lapse = nil
		k.mu.say(slog.LevelWarn, "registry: registrations no longer confirmed: trying again",
			"registrations", k.registered(), "since", k.news.since, "err", k.doubt)
	})
}

// lasted returns for how long something was wrong, and notes that nothing is any more,
// unless there is something to write again, or to renew. k.mu is held.
func (k *keeper) lasted() time.Duration {
	d := time.Since(k.news.since).Round(time.Millisecond)
	if !k.news.again && k.doubt == nil {
		k.news.since = time.Time{}
	}
	return d
}

// registered counts what is wanted and was confirmed once. k.mu is held.
func (k *keeper) registered() (n int) {
	for _, e := range k.entries {
		if e.want != nil && e.want.confirmed {
			n++
		}
	}
	return n
}

// returned tells when all that is to be registered again is. k.mu is held.
func (k *keeper) returned() {
	if !k.news.again {
		return
	}
	n := 0
	for _, e := range k.entries {
		switch {
		case e.want == nil || !e.want.confirmed:
		case !e.held:
			return
		default:
			n++
		}
	}
	k.news.again = false
	if d := k.lasted(); n > 0 {
		k.mu.say(slog.LevelInfo, "registry: registered again", "registrations", n, "after", d)
	}
}
