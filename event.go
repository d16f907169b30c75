package registry

// An Event is a step that a Registry takes on its own account, and that its
// methods do not show: see [Options.Observe]. Events are for counting; the log
// says the same to people.
type Event struct {
	Kind EventKind

	// Op is what is tried again: "session", "renew", "guard", "register",
	// "deregister", "watch", "lookup" or "services". Only for Retrying.
	Op string

	// Service and ID are empty where the event concerns none.
	Service, ID string

	// Err is why; nil for good news.
	Err error
}

// An EventKind tells Events apart. There may be more of them in later versions.
type EventKind int

const (
	// SessionOpened and SessionOver come in turn, beginning with SessionOpened.
	// Close ends the session that is open then, if there is one, with ErrClosed.
	SessionOpened EventKind = iota + 1
	SessionOver
	// RecordWritten: the registry holds the record of a registration, where it
	// did not before.
	RecordWritten
	// RecordLost: the registry does not hold it any more, which nobody here asked
	// for. It is written again, unless a newer registration has taken over.
	RecordLost
	// Retrying: something has failed, and is tried again.
	Retrying
)

// observe hands ev to whoever wants to count it. No lock is held.
func (c *core) observe(ev Event) {
	if c.opts.Observe != nil {
		c.opts.Observe(ev)
	}
}

// tell is observe, once k.mu is released. k.mu is held.
func (k *keeper) tell(ev Event) {
	if k.c.opts.Observe != nil {
		k.mu.later(func() { k.c.opts.Observe(ev) })
	}
}
