// Package registry announces the instances of a service and finds them.
//
// A service announces itself in a registry (ZooKeeper, etcd, Consul, or a
// store in memory for tests) and is found there while it lives. Programs hold
// a [Registry], got from [Open] with a URL, or from [New] with a [Backend]:
//
//	reg, err := registry.Open(ctx, "zk://127.0.0.1:2181", nil)
//	…
//	me, err := reg.Register(ctx, registry.Instance{Service: "go_servers", Addr: "10.0.0.7:8897"})
//	…
//	for snap, err := range reg.Watch(ctx, "go_servers") { … }
//
// Which backends Open knows is decided by the program's imports: each of the
// packages memreg, zkreg, etcdreg, consulreg and staticreg registers its URL scheme when it
// is imported.
//
// # What is kept up without being asked
//
// A registration is written again after the loss of a session, with its latest
// metadata, until it is withdrawn or a newer one takes over. A watch survives
// every outage: it goes on showing the last set known to be good, and says
// since when it is not confirmed. Callers never retry.
//
// The numbered promises that the tests check are in docs/promises.md.
package registry

import (
	"context"
	"iter"
	"log/slog"
	"time"
)

// A Registry announces instances and finds them. All methods are safe for
// concurrent use. Errors are of type [*Error] and wrap one of the sentinels of
// this package where a caller may want to branch.
type Registry interface {
	// Register announces in and returns once the registry has confirmed it:
	// from then on a Lookup by anybody sees it. While the registry cannot be
	// reached Register waits, until ctx ends; its error then wraps both the
	// cause of ctx and the last cause of the waiting. When Register returns an
	// error, nothing stays registered. If the registry cannot be reached to
	// withdraw what may have been written, that record goes when the session ends.
	//
	// If (Service, ID) is registered already, here or elsewhere, the newer
	// registration takes over at once and without a gap, and the older one
	// ends with ErrSuperseded: if it is of this Registry, even where Register then
	// fails. The session stays until Close, also when nothing is registered any more,
	// unless a Register or a Deregister has failed by then.
	//
	// Invalid input gives ErrInvalid or ErrTooLarge before anything is sent, a
	// refusal by the registry ErrDenied, a newer registration that came meanwhile
	// ErrSuperseded, and Close ErrClosed. The registry may say ErrInvalid or ErrTooLarge
	// too: of a TTL that it does not grant, a path that cannot hold a record, a request
	// over its limits.
	Register(ctx context.Context, in Instance) (Registration, error)

	// Lookup asks the registry now, and returns the instances of service sorted
	// by ID; none is an empty slice and no error. It tries again within ctx,
	// but for no longer than Options.TTL (and no less than 1 s, no more than 30 s), and
	// never answers from memory; after that its error wraps context.DeadlineExceeded.
	// ErrInvalid (a bad name), ErrDenied, and ErrTooLarge, which says that there are more
	// than MaxInstances, are returned at once, and ErrClosed after Close. Records that are not ours
	// are left out: a watch counts them. The slice is the caller's.
	Lookup(ctx context.Context, service string) ([]Instance, error)

	// Services asks the registry now for the names of the services that have a
	// record, sorted. It tries again as Lookup does.
	Services(ctx context.Context) ([]string, error)

	// Watch yields the set of instances of service, whole, each time that it
	// changes, and when it ceases to be confirmed or is confirmed again. The
	// first Snapshot is a set that the registry has confirmed: Watch waits for
	// it, however long the registry is away. (A reader that joins others in an
	// outage gets what they have, marked as unconfirmed.) A reader that is
	// slower than the changes skips to the newest. An outage is no error: see
	// Snapshot.Err.
	//
	// The error is non-nil only in the last pair, in which the Snapshot is
	// empty: ctx has ended (the error wraps its cause, and why there was no
	// first Snapshot if there was none), ErrClosed, ErrInvalid for a bad name,
	// and ErrDenied or ErrTooLarge where there is no first Snapshot for that
	// reason.
	//
	// All readers of a service share one watch on the backend; a reader costs
	// no goroutine. The sequence may be ranged over more than once, each time
	// as a new reader.
	Watch(ctx context.Context, service string) iter.Seq2[Snapshot, error]

	// Close withdraws every registration, ends every watch and every waiting
	// call with ErrClosed, closes the backend, and returns when the last
	// goroutine of the Registry has ended, at most Options.TTL later (but 2 s if that is
	// less, and 30 s if it is more). An error means that the withdrawal is unconfirmed,
	// or that an earlier one still is, of a Deregister or a Register that failed: the
	// records then go when their session runs out. Closing again returns the same.
	Close() error
}

// A Registration is one announced instance. Its methods are safe for
// concurrent use.
type Registration interface {
	// Instance returns what is announced, with the latest metadata, confirmed or not.
	Instance() Instance

	// Update replaces the metadata and returns once the registry has confirmed
	// it. Readers see the old or the new record, never none and never a
	// mixture. Metadata that is invalid, or makes the record larger than MaxRecord,
	// is refused with nothing changed, and so is every Update of a registration that
	// has ended (ErrClosed, ErrSuperseded). After any other error the new metadata is
	// unconfirmed and still wanted: it is written when the registry takes it.
	Update(ctx context.Context, meta map[string]string) error

	// Deregister withdraws the instance and returns once the registry has
	// confirmed that it is gone. If a newer registration of the same Registry has
	// replaced it, Deregister waits until that one is written. It is idempotent.
	// An error means that this is unconfirmed, never that the instance is still
	// wanted: it is not written again, and the record goes at the latest when its
	// session ends.
	Deregister(ctx context.Context) error

	// Done is closed when the registration has ended for good: withdrawn (from the
	// call of Deregister on, confirmed or not), superseded, or its Registry closed.
	Done() <-chan struct{}

	// Err is nil while the registry confirms the registration. Otherwise it
	// says why it does not just now (and is nil again when it does), or, after
	// Done, why it ended: ErrClosed after Deregister or Close, ErrSuperseded
	// after a takeover. It is non-nil no later than TTL after the sending of
	// the last renewal that was answered, by this process's monotonic clock.
	Err() error

	// TTL returns what the server granted to the session that holds the
	// registration: a crash is seen by others no sooner.
	TTL() time.Duration
}

// An Instance is one running copy of a service.
type Instance struct {
	// Service is the name to look up: [A-Za-z0-9._-], 1 to 128 bytes, neither
	// "." nor "..".
	Service string

	// ID tells instances of a service apart; a newer registration with the same
	// ID takes over. The same alphabet as Service, and ":", "[", "]" and "%".
	// It defaults to Addr.
	ID string

	// Addr is where clients reach the instance: host:port, with a port from 1
	// to 65535.
	Addr string

	// Meta is announced along with it: valid UTF-8. The encoded record must not
	// exceed MaxRecord.
	Meta map[string]string
}

// A Snapshot is the set of instances of a service at one time.
type Snapshot struct {
	// Instances is sorted by ID and shared between readers: it must not be
	// modified. It is never changed after it was yielded.
	Instances []Instance

	// Err is nil if the set is current. Otherwise Instances is the last set
	// known to be good, and Err says why it is no longer confirmed: at once if
	// the registry refuses, within 2/3 TTL of its last answer if it does not
	// answer (5/6 TTL and 50 ms if the link ended meanwhile, or if answers come ever
	// later), and one TTL after the link to it broke, where TTL is that of the
	// Options. An interruption that is over sooner is not shown. A set that is
	// found empty after one that was shown, or after 7/12 TTL without a word
	// from the registry, is shown as empty MaxBackoff and TTL/2 later, and 1 s more
	// after a refusal: until then those who were cut off as well register again.
	Err error

	// Confirmed is when the registry last confirmed this set.
	Confirmed time.Time

	// Skipped counts records of the service that cannot be used, because their
	// name or value is not one of ours. Each is logged once.
	Skipped int

	settling time.Duration // of the Registry that it is from
}

// Options configure a Registry. The zero value and nil work.
type Options struct {
	// TTL is how long the registry keeps a record whose owner is silent: 10 s
	// if 0, at least 100 ms, at most 24 h. The server may grant another, see
	// Registration.TTL. Bounds on watches, Lookup and Close are computed from this value.
	TTL time.Duration

	// MaxInstances bounds a service: a set with more records gives
	// ErrTooLarge, and leaves the last good set of a watch in place. 100,000
	// if 0.
	MaxInstances int

	// Logger receives one line for each change of state, and none for a retry: what
	// is lost, since when, what is being tried, and when it is back, after how
	// long. slog.Default if nil. Its handler must not call Register, Update,
	// Deregister or Close, nor read a Watch: these would wait for it.
	Logger *slog.Logger

	// Observe, if not nil, is called for each Event, from several goroutines. It
	// holds up the Registry until it returns, and must not call what waits for the
	// registry, and so for it: Register, Update, Deregister, Close, Lookup, Services, or
	// the reading of a Watch.
	Observe func(Event)

	// NoVerify turns off the question, asked twice every TTL in O(1), whether
	// the set that a watch shows is still the registry's. It is for the tests
	// of a Backend, which the answer could rescue; a program wants it on.
	NoVerify bool
}

const (
	// MaxRecord is the largest encoded record in bytes.
	MaxRecord = 16 << 10

	// MaxBackoff is the longest pause between two tries to reach the registry, except
	// after a refusal. Pauses start at 50 ms, double, and are jittered down to half.
	// After a refusal the pause is from MaxBackoff to 3/2 MaxBackoff, and a watch whose
	// set is too large waits for Options.TTL at least.
	MaxBackoff = 2 * time.Second

	defaultTTL          = 10 * time.Second
	minTTL              = 100 * time.Millisecond
	maxTTL              = 24 * time.Hour
	minPatience         = time.Second
	maxPatience         = 30 * time.Second
	defaultMaxInstances = 100_000
)
