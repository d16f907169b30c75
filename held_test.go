package registry_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/memreg"
)

// An empty set that is held back after an outage is not shown when the link has broken
// again meanwhile: nobody knows then.
func TestHeldWhileCutAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memreg.NewStore()
		store.Plant("svc", "h:1", nil)
		link := store.Conn()
		reg := registry.New(link, quiet)
		defer reg.Close()
		v := following(t, reg, quietly)
		until(v, func(s registry.Snapshot) bool { return len(s.Instances) == 1 })
		link.Cut()
		until(v, func(s registry.Snapshot) bool { return s.Err != nil })
		store.Remove("svc", "h:1")
		link.Heal()
		time.Sleep(3 * time.Second) // the watch is back, and holds back what it has seen
		link.Cut()
		for range 60 {
			time.Sleep(time.Second)
			if s := v.Snapshot(); s.Err == nil || len(s.Instances) != 1 {
				t.Fatalf("in an outage: %+v", s)
			}
		}
		link.Heal()
		healed := time.Now()
		until(v, func(s registry.Snapshot) bool { return s.Err == nil && len(s.Instances) == 0 })
		if d := time.Since(healed); d > 2*registry.MaxBackoff+5*time.Second {
			t.Errorf("shown as empty after %v", d)
		}
	})
}
