package registry

import (
	"errors"
	"log/slog"
	"time"
)

type key struct{ service, id string }

// An entry is what is wanted of one record, and how far that is. It exists while the
// record is wanted, or, under a session, may be there on our account: without a session,
// there is none.
type entry struct {
	key
	want    *registration // nil: withdrawn
	gen     uint64        // of the newest wish
	written uint64        // of the newest wish that the registry has confirmed
	held    bool          // the session holds a record of want
	there   bool          // the registry may hold a record on our account
	queued  bool          // in ready or later
	due     time.Time
	pause   backoff
	last    error     // the newest failure; nil after a success
	wrong   time.Time // since when a line has said that the record is not as wanted
	waiters []waiter
}

// A waiter is told when a wish is confirmed (nil) or has failed for good.
type waiter struct {
	gen uint64
	ch  chan error
}

// tell answers those who wait for a wish up to gen.
func (e *entry) tell(gen uint64, err error) {
	rest := e.waiters[:0]
	for _, w := range e.waiters {
		if w.gen <= gen {
			w.ch <- err
		} else {
			rest = append(rest, w)
		}
	}
	e.waiters = rest
}

// A leftover is a record that a session may have left that is over: nobody has said.
type leftover struct {
	written uint64 // the newest wish that was confirmed: what was withdrawn by then is gone
	why     error
}

// leave notes that the record of e may be there, until it is written over. k.mu is held.
func (k *keeper) leave(e *entry, why error) {
	if _, known := k.left[e.key]; !known {
		k.left[e.key] = leftover{e.written, why}
	}
}

// settle notes the outcome of writing e as r wanted it (nil: deleting it) at
// gen. k.mu is held.
func (k *keeper) settle(e *entry, r *registration, gen uint64, err error) {
	e.last = err
	switch {
	case err == nil:
		if r != nil && r == e.want && !e.held {
			k.tell(Event{Kind: RecordWritten, Service: e.service, ID: e.id})
		}
		e.written, e.there, e.held = gen, r != nil, r != nil && r == e.want
		e.pause.reset()
		if e.held && !e.wrong.IsZero() {
			k.mu.say(slog.LevelInfo, "registry: record written again", "service", e.service, "instance", e.id, "after", time.Since(e.wrong).Round(time.Millisecond))
			e.wrong = time.Time{}
		}
		if r != nil {
			r.confirmed = true
			delete(k.left, e.key) // it was written over
		}
		e.tell(gen, k.left[e.key].why)
		if r == nil && e.want == nil && gen == e.gen { // else somebody waits for a newer withdrawal
			delete(k.entries, e.key)
		}
	case errors.Is(err, ErrSuperseded):
		e.last, e.there = nil, false
		delete(k.left, e.key) // it is another's
		if e.want == r {
			if e.held {
				k.tell(Event{Kind: RecordLost, Service: e.service, ID: e.id, Err: err})
			}
			k.mu.say(slog.LevelWarn, "registry: superseded by a newer registration: left alone", "service", e.service, "instance", e.id)
			k.finish(e, ErrSuperseded)
		}
	case permanent(err):
		e.tell(gen, err)
		switch {
		case e.want != r: // it is about to be written otherwise
		case r != nil && !r.confirmed:
			r.end(err)
			e.want, e.last = nil, nil
			if e.there {
				k.wish(e) // nothing stays registered
			} else {
				delete(k.entries, e.key)
			}
		case e.wrong.IsZero(): // logged once, not at every try
			e.wrong = time.Now()
			k.mu.say(slog.LevelWarn, "registry: write refused: trying again", "service", e.service, "instance", e.id, "err", err)
		}
	default:
		e.there = true // perhaps: nobody has said
	}
}
