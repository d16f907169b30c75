package registry_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/memreg"
)

// TestCloseAfterWithdrawalInVain: of a withdrawal that nobody has confirmed Close says so,
// until the record must be gone or was written over.
func TestCloseAfterWithdrawalInVain(t *testing.T) {
	for _, c := range []struct {
		name      string
		then      func(t *testing.T, reg registry.Registry)
		confirmed bool
	}{
		{"at once", func(t *testing.T, reg registry.Registry) {}, false},
		{"with another registered since then", func(t *testing.T, reg registry.Registry) { register(t, reg, 2) }, false},
		{"with another registered for long", func(t *testing.T, reg registry.Registry) {
			r := register(t, reg, 2)
			time.Sleep(4 * r.TTL())
		}, true},
		{"written over", func(t *testing.T, reg registry.Registry) { register(t, reg, 1) }, true},
		{"written over and withdrawn", func(t *testing.T, reg registry.Registry) {
			if err := register(t, reg, 1).Deregister(t.Context()); err != nil {
				t.Error(err)
			}
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				link := memreg.NewStore().Conn()
				reg := registry.New(link, quiet)
				r := register(t, reg, 1)
				link.Cut()
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := r.Deregister(ctx); err == nil {
					t.Fatal("confirmed, while the link was cut")
				}
				time.Sleep(time.Second)
				link.Heal()
				c.then(t, reg)
				if err := reg.Close(); (err == nil) != c.confirmed {
					t.Errorf("Close: %v; want it confirmed: %v", err, c.confirmed)
				}
			})
		})
	}
}
