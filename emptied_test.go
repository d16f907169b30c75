package registry_test

import (
	"context"
	"errors"
	"sync"
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

// ownerAndReader returns the link of a Registry that has registered an instance, and that of
// another, reg, which is to watch it.
func ownerAndReader(t *testing.T) (theirs, ours *memreg.Conn, reg registry.Registry) {
	store := memreg.NewStore()
	theirs, ours = store.Conn(), store.Conn()
	owner := registry.New(theirs, quiet)
	t.Cleanup(func() { owner.Close() })
	register(t, owner, 1)
	reg = registry.New(ours, quiet)
	t.Cleanup(func() { reg.Close() })
	return theirs, ours, reg
}

// TestEmptySetAfterARefusal: a refusal of all, as when a policy is taken away, ends the
// sessions of the owners too, and a reader may be heard again before they are.
func TestEmptySetAfterARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = 10 * time.Second
		theirs, ours, reg := ownerAndReader(t)
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
		theirs, ours, reg := ownerAndReader(t)
		ctx, cancel := context.WithTimeout(t.Context(), 3*ttl)
		defer cancel()
		time.AfterFunc(3*ttl/10, func() { theirs.Cut(); ours.Cut() }) // the next renewal is due
		time.AfterFunc(3*ttl/10+3*ttl/4, ours.Heal)
		time.AfterFunc(3*ttl/10+3*ttl/4+registry.MaxBackoff, theirs.Heal)
		var last registry.Snapshot
		for snap, err := range reg.Watch(ctx, instance(1).Service) {
			if err == nil && len(snap.Instances) != 1 {
				t.Errorf("the set has %d instances, with Err %v", len(snap.Instances), snap.Err)
			}
			if err == nil {
				last = snap
			}
		}
		if last.Err != nil {
			t.Errorf("in the end the set is not confirmed: %v", last.Err)
		}
	})
}
