package conformance

import "github.com/go-rollcall/registry"

// A Cluster is a registry of several servers, its members, that one case has to
// itself, and what the case can do to them. Members are numbered from 0. A function
// that is nil makes the cases that need it be skipped. When the case ends, the
// harness brings the members back, in whatever state they are.
type Cluster struct {
	// New makes clients, as what Harness.New returns does. They know all members,
	// and can be kept from some by [Client.Reach].
	New func(*registry.Options) Client

	// Members is how many there are, three or more. Most of them suffice to serve.
	Members int

	// KillLeader ends the member that leads, without warning.
	KillLeader func()
	// Stop ends all members without warning.
	Stop func()
	// Start starts the members that have ended again, with what they stored, and
	// returns when all serve. It is required with KillLeader and Stop.
	Start func()

	// Pause holds all members where they are, as SIGSTOP does: connections stay, and
	// nobody answers. PauseLeader holds the one that leads, and says which that is.
	// Continue undoes either.
	Pause, Continue func()
	PauseLeader     func() (member int)

	// Isolate parts a member from the others, and not from clients. Reunite undoes
	// it, and returns when all members serve.
	Isolate func(member int)
	Reunite func()

	// Save keeps the state of the registry. What it returns puts that back in place
	// of whatever has come since, on all members, and returns when they serve. Both
	// may stop the members for a while.
	Save func() (restore func())
}

// servers are the faults of a Cluster.
const servers = kill | stop | hold | halt | part | save

func (f faults) missingOf(c Cluster) (names []string) {
	return f.without([]capability{
		{kill, "KillLeader and Start", c.KillLeader != nil && c.Start != nil},
		{stop, "Stop and Start", c.Stop != nil && c.Start != nil},
		{hold, "Pause and Continue", c.Pause != nil && c.Continue != nil},
		{halt, "PauseLeader and Continue, and three Members", c.PauseLeader != nil && c.Continue != nil && c.Members >= 3},
		{part, "Isolate and Reunite, and three Members", c.Isolate != nil && c.Reunite != nil && c.Members >= 3},
		{save, "Save", c.Save != nil},
	})
}
