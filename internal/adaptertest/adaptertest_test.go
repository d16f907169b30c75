package adaptertest_test

import (
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/conformance"
	"github.com/go-rollcall/registry/internal/adaptertest"
	"github.com/go-rollcall/registry/memreg"
)

// TestInMemory is here, and not in memreg as those of the other backends are: whoever
// builds its tests does not link gRPC.
func TestInMemory(t *testing.T) {
	const ttl = 2 * time.Second
	adaptertest.Run(t, conformance.Harness{TTL: ttl, Slack: time.Second, New: func(*testing.T) func(*registry.Options) conformance.Client {
		store := memreg.NewStore()
		return func(opts *registry.Options) conformance.Client {
			c := store.Conn()
			return conformance.Client{Registry: registry.New(c, opts), Cut: c.Cut, Heal: c.Heal}
		}
	}}, 2*ttl)
}
