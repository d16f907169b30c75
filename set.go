package registry

import (
	"bytes"
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"
)

// A member is a record as read, and the instance in it if it can be used.
type member struct {
	value []byte
	in    Instance
	bad   bool
}

// A sink is the watch as one attempt of the backend's Watch may change it.
type sink struct {
	w      *watch
	cancel context.CancelCauseFunc
	start  time.Time // of the attempt
	begun  bool      // the attempt has brought a set
	full   bool      // it has brought one that was refused: what follows builds on that
}

// Reset does not believe a set without an instance at once if it comes after an outage: the
// sessions of those who were cut off as well, or refused, may have run out, and each of them
// registers again within MaxBackoff of the end of the outage. Until then the last good set
// stays.
func (s *sink) Reset(recs []Record, version string) {
	w := s.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if !s.fits(len(recs)) {
		return
	}
	s.begun = true
	w.patience = 2 * time.Since(s.start) // what it took may be needed again
	if len(w.set) > w.skipped && w.away() && !w.anybody(recs) {
		w.rest = map[string]Record{}
		for _, rec := range recs {
			w.rest[rec.ID] = rec
		}
		w.holdBack(version)
		return
	}
	w.replace(recs, version)
}

// away reports whether nothing was heard of the registry for so long that, if nobody else
// has either, sessions may have run out: that takes two thirds of the TTL at least, and it
// is asked every half. The break may have been noticed late. A set that was held back once
// stays so until it is shown, however often the link breaks meanwhile. w.mu is held.
func (w *watch) away() bool {
	heard := w.broke
	if !w.c.opts.NoVerify && w.answered.After(w.confirmed) {
		heard = w.answered
	} else if !w.c.opts.NoVerify {
		heard = w.confirmed
	}
	return w.trouble != nil || w.rest != nil || !heard.IsZero() && time.Since(heard) > w.c.opts.TTL*7/12
}

// anybody reports whether one of recs is an instance.
func (w *watch) anybody(recs []Record) bool {
	return slices.ContainsFunc(recs, func(rec Record) bool {
		_, err := decode(w.service, rec.ID, rec.Value)
		return err == nil
	})
}

// settling is how long an empty set is held back after an outage, where owners have
// registered with that TTL.
func settling(ttl time.Duration) time.Duration { return MaxBackoff + ttl/2 }

// afterRefusal is how much longer that is where the registry has refused: pauses are, too.
const afterRefusal = MaxBackoff / 2

// holdBack has only w.rest left in the set after a while, unless an instance comes before.
// w.mu is held.
func (w *watch) holdBack(version string) {
	w.version = version
	w.brought++
	if w.emptied != nil {
		return
	}
	d := settling(w.c.opts.TTL)
	if permanent(w.trouble) {
		d += afterRefusal
	}
	w.mu.say(slog.LevelInfo, "registry: nobody is registered after the outage: the last good set stays for a while", "service", w.service,
		"instances", len(w.set)-w.skipped, "for", d)
	w.owed = time.Now().Add(d - w.c.opts.TTL/2)
	w.timers.later(&w.emptied, d, w.empty)
}

// empty empties the set, if the registry has said that it is still so when everybody was
// due: the link may be dead. w.mu is held.
func (w *watch) empty() {
	verified := !w.c.opts.NoVerify
	if verified && !w.agreed.After(w.owed) {
		w.timers.later(&w.emptied, w.c.opts.TTL/6, w.empty)
		return
	}
	w.replace(slices.Collect(maps.Values(w.rest)), w.version)
	if verified {
		w.confirmed = w.agreed
	}
}

// replace makes recs the set. w.mu is held.
func (w *watch) replace(recs []Record, version string) {
	gone := maps.Clone(w.set)
	changed := false
	for _, rec := range recs {
		delete(gone, rec.ID)
		changed = w.put(rec) || changed
	}
	for id := range gone {
		changed = w.remove(id) || changed
	}
	w.rest = nil
	w.confirm(version, changed)
}

func (s *sink) Apply(put []Record, gone []string, version string) {
	w := s.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.emptied != nil { // for the registry, what the set has is gone already
		s.applyToRest(put, gone, version)
		return
	}
	if !s.fits(sizeAfter(w.set, put, gone)) {
		return
	}
	changed := false
	for _, id := range gone {
		changed = w.remove(id) || changed
	}
	for _, rec := range put {
		changed = w.put(rec) || changed
	}
	w.confirm(version, changed)
}

// applyToRest is Apply while an emptied set is held back. w.mu is held.
func (s *sink) applyToRest(put []Record, gone []string, version string) {
	w := s.w
	if !s.fits(sizeAfter(w.rest, put, gone)) {
		return
	}
	for _, id := range gone {
		delete(w.rest, id)
	}
	for _, rec := range put {
		w.rest[rec.ID] = rec
	}
	if w.anybody(put) {
		w.replace(slices.Collect(maps.Values(w.rest)), version)
	} else {
		w.holdBack(version)
	}
}

// sizeAfter is how many keys set has without those in gone, and then with those of put.
func sizeAfter[V any](set map[string]V, put []Record, gone []string) int {
	there := make(map[string]bool, len(gone)+len(put)) // afterwards
	for _, id := range gone {
		there[id] = false
	}
	for _, rec := range put {
		there[rec.ID] = true
	}
	n := len(set)
	for id, stays := range there {
		if _, had := set[id]; stays && !had {
			n++
		} else if had && !stays {
			n--
		}
	}
	return n
}

// fits ends the attempt if the set would have more than MaxInstances records:
// the last good one stays.
func (s *sink) fits(n int) bool {
	if s.full = s.full || n > s.w.c.opts.MaxInstances; s.full {
		s.cancel(s.w.c.tooMany(n))
	}
	return !s.full
}

// put and remove change one member, and report whether that can be seen.
// w.mu is held.
func (w *watch) put(rec Record) bool {
	old, had := w.set[rec.ID]
	if had && bytes.Equal(old.value, rec.Value) {
		return false
	}
	m := member{value: rec.Value}
	var err error
	if m.in, err = decode(w.service, rec.ID, rec.Value); err != nil {
		m.bad = true
		if old.bad { // somebody may write it every second
			w.set[rec.ID] = m
			return false
		}
		w.mu.say(slog.LevelWarn, "registry: record skipped: it is not one of ours", "service", w.service, "instance", rec.ID, "err", err)
	}
	w.remove(rec.ID)
	w.set[rec.ID] = m
	w.stale[rec.ID] = true
	if m.bad {
		w.skipped++
	}
	return true
}

func (w *watch) remove(id string) bool {
	old, had := w.set[id]
	if !had {
		return false
	}
	delete(w.set, id)
	if _, shown := search(w.snap.Instances, id); shown {
		w.stale[id] = true
	} else {
		delete(w.stale, id) // it came and went while nobody read
	}
	if old.bad {
		w.skipped--
	}
	return true
}

// search finds id in a sorted list, or its place there.
func search(list []Instance, id string) (n int, found bool) {
	return slices.BinarySearchFunc(list, id, func(in Instance, id string) int { return cmp.Compare(in.ID, id) })
}

// snapshot brings snap up to date by merging what has changed into the sorted
// list that is there: readers of a large service do not pay for sorting it
// again. w.mu is held.
func (w *watch) snapshot() Snapshot {
	if len(w.stale) > 0 {
		ids := slices.Sorted(maps.Keys(w.stale))
		old := w.snap.Instances
		list := make([]Instance, 0, len(w.set))
		for _, id := range ids {
			n, found := search(old, id)
			list = append(list, old[:n]...)
			if found {
				n++
			}
			old = old[n:]
			if m, ok := w.set[id]; ok && !m.bad {
				list = append(list, m.in)
			}
		}
		w.snap.Instances = append(list, old...)
		clear(w.stale)
	}
	w.snap.Err = w.trouble
	w.snap.Confirmed = w.confirmed
	w.snap.Skipped = w.skipped
	w.snap.settling = settling(w.c.opts.TTL)
	return w.snap
}
