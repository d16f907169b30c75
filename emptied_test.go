package registry_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/memreg"
)

// TestEmptySetBehindADeadLink: a set that was found empty after an outage is not shown as
// confirmed when the link has fallen silent since.
func TestEmptySetBehindADeadLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = 30 * time.Second
		store := memreg.NewStore()
		link := store.Conn()
		owner := registry.New(store.Conn(), quiet)
		register(t, owner, 1)
		reg := registry.New(link, &registry.Options{TTL: ttl, Logger: quiet.Logger})
		defer reg.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 6*ttl)
		defer cancel()
		was, cut := 0, false
		for snap, err := range reg.Watch(ctx, instance(1).Service) {
			switch {
			case err != nil:
			case snap.Err != nil && !cut:
				cut = true
				owner.Close()
				link.Heal()
				time.AfterFunc(registry.MaxBackoff+time.Second, link.Freeze) // it has found nobody
			case was > 0 && len(snap.Instances) == 0:
				t.Errorf("the set was emptied, with Err %v, over a link that is dead", snap.Err)
			case !cut:
				link.Cut()
			}
			was = len(snap.Instances)
		}
		if !cut {
			t.Error("no outage was seen")
		}
	})
}

// ownerAndReader returns the link of a Registry that has registered an instance, that of
// another, reg, which is to watch it, and what both lead to.
func ownerAndReader(t *testing.T) (theirs, ours *memreg.Conn, store *memreg.Store, reg registry.Registry) {
	store = memreg.NewStore()
	theirs, ours = store.Conn(), store.Conn()
	owner := registry.New(theirs, quiet)
	t.Cleanup(func() { owner.Close() })
	register(t, owner, 1)
	reg = registry.New(ours, quiet)
	t.Cleanup(func() { reg.Close() })
	return theirs, ours, store, reg
}

// neverEmpty watches until ctx ends, and returns the last snapshot. Each is to have one
// instance.
func neverEmpty(ctx context.Context, t *testing.T, reg registry.Registry) (last registry.Snapshot) {
	for snap, err := range reg.Watch(ctx, instance(1).Service) {
		if err != nil {
			break
		}
		if len(snap.Instances) != 1 {
			t.Errorf("the set has %d instances, with Err %v", len(snap.Instances), snap.Err)
		}
		last = snap
	}
	return last
}

// TestEmptySetAfterARefusal: a refusal of all, as when a policy is taken away, ends the
// sessions of the owners too, and a reader may be heard again before they are.
func TestEmptySetAfterARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = 10 * time.Second
		theirs, ours, _, reg := ownerAndReader(t)
		ctx, cancel := context.WithTimeout(t.Context(), 6*ttl)
		defer cancel()
		time.AfterFunc(ttl, func() { theirs.Deny(); ours.Deny() })
		time.AfterFunc(4*ttl, ours.Allow)
		time.AfterFunc(4*ttl+2*registry.MaxBackoff, theirs.Allow)
		denied := false
		var last registry.Snapshot
		for snap, err := range reg.Watch(ctx, instance(1).Service) {
			if err != nil {
				continue
			}
			denied = denied || errors.Is(snap.Err, registry.ErrDenied)
			if len(snap.Instances) != 1 {
				t.Errorf("the set has %d instances, with Err %v", len(snap.Instances), snap.Err)
			}
			last = snap
		}
		if !denied || last.Err != nil {
			t.Errorf("denied: %v; in the end Err is %v", denied, last.Err)
		}
	})
}

// TestReturnAfterARefusal: the registry takes all again just after it has refused the owner
// once more, whose next try is then up to 3/2 MaxBackoff away, and that of a reader may be
// at hand.
func TestReturnAfterARefusal(t *testing.T) {
	for range 10 {
		synctest.Test(t, func(t *testing.T) {
			const ttl = time.Second
			store := memreg.NewStore()
			links := make([]*memreg.Conn, 30) // the owner's, and of readers
			for i := range links {
				links[i] = store.Conn()
			}
			all := func(f func(*memreg.Conn)) {
				for _, link := range links {
					f(link)
				}
			}
			began := time.Now()
			owner := registry.New(links[0], &registry.Options{TTL: ttl, Logger: quiet.Logger, Observe: func(e registry.Event) {
				if e.Op == "session" && time.Since(began) > 10*ttl {
					all((*memreg.Conn).Allow)
				}
			}})
			defer owner.Close()
			register(t, owner, 1)
			time.AfterFunc(ttl, func() {
				all((*memreg.Conn).Deny)
				links[0].Allow()
				links[0].Expire() // so that the owner asks for another session
				time.Sleep(time.Millisecond)
				links[0].Deny()
			})
			ctx, cancel := context.WithTimeout(t.Context(), 20*ttl)
			defer cancel()
			var readers sync.WaitGroup
			defer readers.Wait()
			for _, link := range links[1:] {
				reg := registry.New(link, &registry.Options{TTL: ttl, Logger: quiet.Logger})
				readers.Go(func() {
					defer reg.Close()
					for snap, err := range reg.Watch(ctx, instance(1).Service) {
						if err == nil && len(snap.Instances) != 1 {
							t.Errorf("the set has %d instances, with Err %v", len(snap.Instances), snap.Err)
						}
					}
				})
			}
		})
	}
}

// TestBreakOfNearlyATTL: where all were cut off, for less than a TTL, but so long that
// sessions have run out, a reader who is back before the owners does not see that.
func TestBreakOfNearlyATTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = 10 * time.Second
		theirs, ours, _, reg := ownerAndReader(t)
		ctx, cancel := context.WithTimeout(t.Context(), 3*ttl)
		defer cancel()
		time.AfterFunc(3*ttl/10, func() { theirs.Cut(); ours.Cut() }) // the next renewal is due
		time.AfterFunc(3*ttl/10+3*ttl/4, ours.Heal)
		time.AfterFunc(3*ttl/10+3*ttl/4+registry.MaxBackoff, theirs.Heal)
		last := neverEmpty(ctx, t, reg)
		if last.Err != nil {
			t.Errorf("in the end the set is not confirmed: %v", last.Err)
		}
	})
}

// TestEmptySetOverALinkThatFlaps: a link that breaks again for a moment, while an empty set is
// held back, does not make it any truer.
func TestEmptySetOverALinkThatFlaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = 30 * time.Second
		store := memreg.NewStore()
		theirs, ours := store.Conn(), store.Conn()
		long := &registry.Options{TTL: ttl, Logger: quiet.Logger}
		owner, reg := registry.New(theirs, long), registry.New(ours, long)
		defer owner.Close()
		defer reg.Close()
		register(t, owner, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 4*ttl)
		defer cancel()
		const back = 3*ttl/10 + 3*ttl/4                               // sessions have run out, and no reader was told
		time.AfterFunc(3*ttl/10, func() { theirs.Cut(); ours.Cut() }) // the next renewal is due
		time.AfterFunc(back, ours.Heal)
		const flap = back + 2*registry.MaxBackoff
		time.AfterFunc(flap, func() { ours.Cut(); ours.Heal() })
		time.AfterFunc(flap+registry.MaxBackoff, theirs.Heal)
		if last := neverEmpty(ctx, t, reg); last.Err != nil {
			t.Errorf("in the end the set is not confirmed: %v", last.Err)
		}
	})
}

// TestEmptySetBesideJunk: a record that is no instance makes no set of it, neither in the
// listing after the outage nor when it comes while the last good set is held back.
func TestEmptySetBesideJunk(t *testing.T) {
	for _, late := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			const ttl = 10 * time.Second
			theirs, ours, store, reg := ownerAndReader(t)
			plant := func() { store.Plant(instance(1).Service, "config", []byte("{}")) }
			if !late {
				plant()
			}
			ctx, cancel := context.WithTimeout(t.Context(), 8*ttl)
			defer cancel()
			time.AfterFunc(ttl, func() { theirs.Cut(); ours.Cut() })
			time.AfterFunc(4*ttl, ours.Heal)
			time.AfterFunc(4*ttl+registry.MaxBackoff, func() {
				if late {
					plant()
				}
				theirs.Heal()
			})
			last := neverEmpty(ctx, t, reg)
			if last.Err != nil || last.Skipped != 1 {
				t.Errorf("in the end %d are skipped, with Err %v", last.Skipped, last.Err)
			}
		})
	}
}

// TestEmptiedBesideJunk: where nobody has come back, what is left is shown.
func TestEmptiedBesideJunk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = 10 * time.Second
		theirs, ours, store, reg := ownerAndReader(t)
		for _, id := range []string{"config", "gone"} {
			store.Plant(instance(1).Service, id, []byte("{}"))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 8*ttl)
		defer cancel()
		time.AfterFunc(ttl, func() { theirs.Cut(); ours.Cut() })
		time.AfterFunc(4*ttl, ours.Heal)
		time.AfterFunc(4*ttl+registry.MaxBackoff, func() { store.Remove(instance(1).Service, "gone") })
		var last registry.Snapshot
		for snap, err := range reg.Watch(ctx, instance(1).Service) {
			if err == nil {
				last = snap
			}
		}
		if last.Err != nil || len(last.Instances) != 0 || last.Skipped != 1 {
			t.Errorf("in the end there are %d instances, %d are skipped, with Err %v", len(last.Instances), last.Skipped, last.Err)
		}
	})
}

// TestBreakThatIsNoticedLate: all fall silent together, which this reader notices only when
// its link ends, after half of the time; the owner's session has run out nonetheless.
func TestBreakThatIsNoticedLate(t *testing.T) {
	for range 10 {
		synctest.Test(t, func(t *testing.T) {
			const ttl = 10 * time.Second
			theirs, ours, _, reg := ownerAndReader(t)
			ctx, cancel := context.WithTimeout(t.Context(), 3*ttl)
			defer cancel()
			const silent = ttl*2/3 - 100*time.Millisecond // the second renewal is due
			time.AfterFunc(silent, func() { theirs.Freeze(); ours.Freeze() })
			time.AfterFunc(ttl-100*time.Millisecond, ours.Cut) // the next look is due
			time.AfterFunc(ttl*4/3+100*time.Millisecond, ours.Heal)
			time.AfterFunc(ttl*4/3+registry.MaxBackoff, theirs.Heal)
			last := neverEmpty(ctx, t, reg)
			if last.Err != nil {
				t.Errorf("in the end the set is not confirmed: %v", last.Err)
			}
		})
	}
}

// lying says of each set that it is no longer the registry's, while it lies.
type lying struct {
	registry.Backend
	lies *atomic.Bool
}

func (b lying) Current(ctx context.Context, service, version string) (bool, error) {
	same, err := b.Backend.Current(ctx, service, version)
	return same && !b.lies.Load(), err
}

// TestEmptySetThatIsNoLongerTrue: the registry answers that the empty set, which is held back,
// is not its own any more; the news is late.
func TestEmptySetThatIsNoLongerTrue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = 30 * time.Second
		var lies atomic.Bool
		store := memreg.NewStore()
		theirs, ours := store.Conn(), store.Conn()
		owner := registry.New(theirs, &registry.Options{TTL: ttl, Logger: quiet.Logger})
		defer owner.Close()
		register(t, owner, 1)
		reg := registry.New(lying{ours, &lies}, &registry.Options{TTL: ttl, Logger: quiet.Logger})
		defer reg.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 8*ttl)
		defer cancel()
		time.AfterFunc(ttl, func() { theirs.Cut(); ours.Cut() })
		time.AfterFunc(4*ttl, func() { lies.Store(true); ours.Heal() })
		time.AfterFunc(4*ttl+registry.MaxBackoff+ttl/2+registry.MaxBackoff+time.Second, func() { lies.Store(false); theirs.Heal() })
		neverEmpty(ctx, t, reg)
	})
}

// Where the registry has refused, an owner may take longer to come back, and the cached set
// stays as much longer.
func TestCacheAfterARefusal(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		store := memreg.NewStore()
		store.Plant("svc", "h:1", nil)
		first := keeping(t, store, dir, false)
		until(first.view, func(s registry.Snapshot) bool { return len(s.Instances) == 1 })
		first.end()
		store.Remove("svc", "h:1")
		link := store.Conn()
		link.Deny()
		reg := registry.New(link, quiet)
		defer reg.Close()
		view := following(t, reg, &registry.FollowOptions{Cache: dir, Logger: quietly.Logger})
		time.Sleep(time.Minute)
		link.Allow()
		until(view, func(s registry.Snapshot) bool { return !errors.Is(s.Err, registry.ErrDenied) })
		answered := time.Now()
		until(view, func(s registry.Snapshot) bool { return s.Err == nil })
		if d, want := time.Since(answered), registry.MaxBackoff*3/2+5*time.Second; d < want {
			t.Errorf("shown as empty %v after a refusal, want %v", d, want)
		}
	})
}
