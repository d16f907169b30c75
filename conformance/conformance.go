// Package conformance checks that a registry keeps the promises of package
// registry. It needs only a way to make clients, and so checks a Backend, or a
// whole Registry of somebody else's:
//
//	func TestConformance(t *testing.T) {
//		conformance.Run(t, conformance.Harness{New: …, TTL: 2 * time.Second, Slack: time.Second})
//	}
//
// The faults that a case needs are made by the harness; [Proxy] makes most of
// them for a server that speaks TCP. A case whose faults the harness cannot make
// is skipped, and says which.
package conformance

import (
	"cmp"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-rollcall/registry"
)

// A Harness makes clients of the registry under test.
type Harness struct {
	// New prepares an empty namespace for one case, and returns a function that
	// makes clients in it, each with a Registry of its own. What it starts it
	// ends with t.Cleanup. The function is called from several goroutines. A Registry
	// that is not one of [registry.New] tells Options.Observe of its events and
	// Options.Logger of a record that it skips, with its ID as "instance": cases look
	// at both.
	New func(t *testing.T) func(*registry.Options) Client

	// Cluster prepares an empty namespace, too, in a registry whose servers the case
	// may fail. Cases that use it run one after another, each beside no other case,
	// so that there need be only one such registry. If it is nil they are skipped.
	Cluster func(t *testing.T) Cluster

	// TTL is what sessions are given: short, for a quick run, but granted by the
	// server as asked, and so long that a slow machine renews in time. The cases
	// ask for up to twice as much, isolated-at-start for five times as much, and
	// effective-ttl for 100 ms and a day, which the server may change or refuse.
	TTL time.Duration

	// Dmax is the longest time from the last renewal of a dead owner to the end
	// of its record; TTL if 0.
	Dmax time.Duration

	// Election is how long the registry of Cluster takes, at most, from the loss of a
	// member to where the others serve without it.
	Election time.Duration

	// Slack is what a bound is stretched by: some round trips, and what the
	// machine takes at its slowest.
	Slack time.Duration

	// Virtual runs each case in a bubble of testing/synctest, where waiting takes
	// no time. It is for registries without a network.
	Virtual bool
}

// A Client is one Registry, and what a test can do to its link and behind its
// back. A function that is nil makes the cases that need it be skipped. All of
// them act before they return.
type Client struct {
	Registry registry.Registry

	// Cut breaks the client's connections, and lets it make no new ones.
	Cut func()
	// Freeze keeps the connections, and holds all that is sent, either way.
	Freeze func()
	// DropReply lets requests through and loses the answers.
	DropReply func()
	// Reach lets the client reach these members of a Cluster only, and breaks its
	// connections to the others.
	Reach func(members ...int)
	// Heal undoes the four above. It is required with any of them.
	Heal func()

	// Expire has the server end the client's sessions, as if it had not heard of
	// the client for longer than the TTL.
	Expire func()
	// Deny has the server refuse this client what concerns a service, until
	// Allow.
	Deny, Allow func(service string)

	// Plant writes a record as somebody else would, whatever is there, and
	// Remove deletes it; with an empty ID all of the service, its path included.
	Plant  func(service, id string, value []byte)
	Remove func(service, id string)

	// Compact has the server forget all that is not the present state. It is nil
	// where the server keeps no history, and no case is skipped for that.
	Compact func()

	// Traffic is what the client has cost the registry so far, in any unit that
	// grows with each request and with each record that is carried.
	Traffic func() int

	// Release gives back what the harness made for the client, after the
	// Registry was closed; nil if that can wait for the end of the case.
	Release func()
}

// A testCase checks one promise.
type testCase struct {
	name    string
	promise int
	needs   faults
	serial  bool // not beside other cases
	verify  bool // the registry's own check of its watches is part of it
	run     func(e *env)
}

// faults are what a case needs of the harness.
type faults uint

const (
	link    faults = 1 << iota // Cut, Heal
	freeze                     // Freeze, Heal
	drop                       // DropReply, Heal
	expire                     // Expire
	deny                       // Deny, Allow
	plant                      // Plant, Remove
	traffic                    // Traffic
	reach                      // Reach, Heal
	kill                       // KillLeader, Start
	stop                       // Stop, Start
	hold                       // Pause, Continue
	halt                       // PauseLeader, Continue
	part                       // Isolate, Reunite
	save                       // Save
)

// A capability is what a harness has, or lacks, of some faults.
type capability struct {
	f    faults
	name string
	has  bool
}

// without returns the names of what is needed and not there.
func (f faults) without(all []capability) (names []string) {
	for _, n := range all {
		if f&n.f != 0 && !n.has {
			names = append(names, n.name)
		}
	}
	return names
}

func (f faults) missing(c Client) (names []string) {
	return f.without([]capability{
		{link, "Cut", c.Cut != nil && c.Heal != nil},
		{freeze, "Freeze", c.Freeze != nil && c.Heal != nil},
		{drop, "DropReply", c.DropReply != nil && c.Heal != nil},
		{expire, "Expire", c.Expire != nil},
		{deny, "Deny", c.Deny != nil && c.Allow != nil},
		{plant, "Plant and Remove", c.Plant != nil && c.Remove != nil},
		{traffic, "Traffic", c.Traffic != nil},
		{reach, "Reach", c.Reach != nil && c.Heal != nil},
	})
}

// Run checks the promises by all cases, each as a subtest by the name of its case.
func Run(t *testing.T, h Harness) {
	h.Dmax = cmp.Or(h.Dmax, h.TTL)
	for _, c := range cases() {
		t.Run(c.name, func(t *testing.T) {
			var missing []string
			switch {
			case h.Virtual:
				synctest.Test(t, func(t *testing.T) { missing = runCase(t, h, c) })
			case c.serial || c.needs&servers != 0:
				missing = runCase(t, h, c)
			default:
				t.Parallel()
				missing = runCase(t, h, c)
			}
			if len(missing) > 0 { // not in the bubble, where a skip looks like a success
				t.Skipf("promise %d is not checked: the harness has no %q", c.promise, missing)
			}
		})
	}
}

// runCase returns the faults that are missing if that keeps c from running.
func runCase(t *testing.T, h Harness, c testCase) (missing []string) {
	e := &env{T: t, h: h, c: c}
	switch {
	case c.needs&servers == 0:
		e.open = h.New(t)
	case h.Cluster == nil:
		return []string{"Cluster"}
	default:
		e.cluster = h.Cluster(t)
		e.open = e.cluster.New
		if missing := c.needs.missingOf(e.cluster); len(missing) > 0 {
			return missing
		}
	}
	if missing := c.needs.missing(e.client()); len(missing) > 0 {
		return missing
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("promise %d: %s", c.promise, promises[c.promise])
		}
	})
	c.run(e)
	e.report()
	return nil
}

func cases() []testCase {
	var all []testCase
	for _, theme := range [][]testCase{registering, withdrawing, input, takeover, staying, watching, quiet, unconfirmed, whole, serving, herd, failing, parted} {
		all = append(all, theme...)
	}
	return all
}
