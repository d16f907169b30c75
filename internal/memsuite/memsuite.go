// Package memsuite has the conformance suite run on memreg, and on what stands on it.
package memsuite

import (
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/conformance"
	"github.com/go-rollcall/registry/memreg"
)

// Virtual is a harness for bubbles. open makes the Registry of one client.
func Virtual(open func(*memreg.Conn, *registry.Options) registry.Registry) conformance.Harness {
	h := harness(time.Second, open)
	h.TTL, h.Slack, h.Virtual = 10*time.Second, 20*time.Millisecond, true
	return h
}

// RealTime is one for the clock of the machine.
func RealTime(open func(*memreg.Conn, *registry.Options) registry.Registry) conformance.Harness {
	h := harness(300*time.Millisecond, open)
	h.TTL, h.Slack = 2*time.Second, time.Second
	return h
}

// harness is one whose members take so long to elect a leader.
func harness(election time.Duration, open func(*memreg.Conn, *registry.Options) registry.Registry) conformance.Harness {
	return conformance.Harness{
		Election: election,
		New: func(*testing.T) func(*registry.Options) conformance.Client {
			return clients(newStore(), open)
		},
		Cluster: func(*testing.T) conformance.Cluster {
			s := newStore()
			return conformance.Cluster{
				New: clients(s, open), Members: memreg.Members,
				KillLeader: func() {
					s.Stop()
					time.AfterFunc(election, s.Start)
				},
				Stop: s.Stop, Start: s.Start, Pause: s.Pause, Isolate: s.Isolate, Reunite: s.Reunite, Save: s.Save,
				PauseLeader: func() int { s.Isolate(0); return 0 }, // it has no other leader
				Continue:    func() { s.Continue(); s.Reunite() },
			}
		},
	}
}

func newStore() *memreg.Store {
	store := memreg.NewStore()
	store.MinTTL, store.MaxTTL = 400*time.Millisecond, 20*time.Second
	return store
}

func clients(store *memreg.Store, open func(*memreg.Conn, *registry.Options) registry.Registry) func(*registry.Options) conformance.Client {
	return func(opts *registry.Options) conformance.Client {
		c := store.Conn()
		return conformance.Client{
			Registry: open(c, opts),
			Cut:      c.Cut, Freeze: c.Freeze, DropReply: c.DropReply, Reach: c.Reach, Heal: c.Heal,
			Expire: c.Expire,
			Deny:   func(string) { c.Deny() }, Allow: func(string) { c.Allow() },
			Plant: store.Plant, Remove: store.Remove,
			Traffic: func() int { return c.Requests() + c.Records() },
		}
	}
}
