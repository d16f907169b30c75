package memreg_test

import (
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/conformance"
	"github.com/go-rollcall/registry/memreg"
)

func harness(*testing.T) func(*registry.Options) conformance.Client {
	store := memreg.NewStore()
	store.MinTTL, store.MaxTTL = 400*time.Millisecond, 10*time.Second
	return func(opts *registry.Options) conformance.Client {
		c := store.Conn()
		return conformance.Client{
			Registry: registry.New(c, opts),
			Cut:      c.Cut, Freeze: c.Freeze, DropReply: c.DropReply, Heal: c.Heal,
			Expire: c.Expire,
			Deny:   func(string) { c.Deny() }, Allow: func(string) { c.Allow() },
			Plant: store.Plant, Remove: store.Remove,
			Traffic: func() int { return c.Requests() + c.Records() },
		}
	}
}

func TestInRealTime(t *testing.T) {
	conformance.Run(t, conformance.Harness{New: harness, TTL: 2 * time.Second, Slack: time.Second})
}

func TestInBubbles(t *testing.T) {
	conformance.Run(t, conformance.Harness{New: harness, TTL: 10 * time.Second, Slack: 20 * time.Millisecond, Virtual: true})
}
