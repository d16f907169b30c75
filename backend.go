package registry

import (
	"context"
	"time"
)

// A Backend translates between this package and one kind of registry. [New]
// makes a [Registry] of it, which adds everything that backends have in
// common: retries, registering again, the shared watch, the last good set,
// the record format, validation and logging.
//
// A Backend therefore does none of that. It does not retry, keeps no record of
// what is wanted, and leaves no goroutine behind when Close has returned. All
// methods are safe for concurrent use. Each returns soon after its ctx ends.
//
// A call that gets no answer at all until its ctx's deadline has passed must
// not hold up the next one: the link that it used is given up, so that the
// next call goes out on a new one.
//
// Errors say which server was asked and what it answered. Those that mean one
// of ErrDenied, ErrInvalid, ErrTooLarge, ErrSuperseded and ErrSessionLost wrap
// it; any other is taken for passing, and the call is made again.
type Backend interface {
	// String names the kind and its servers, as logs and errors show it:
	// "zookeeper 10.0.0.1:2181,10.0.0.2:2181". Never a credential.
	String() string

	// NewSession opens a session that the server ends when it has not been
	// renewed for ttl. It returns when the server has granted it, or at the
	// first error. The Registry has at most one open at a time.
	NewSession(ctx context.Context, ttl time.Duration) (Session, error)

	// Lookup reads all records of service, as of some moment after the call
	// began: not from a replica that lags. A partial list is an error. A
	// service that nobody ever registered has none.
	Lookup(ctx context.Context, service string) ([]Record, error)

	// Services returns the names under which there is a record, in any order.
	Services(ctx context.Context) ([]string, error)

	// Watch hands the whole set of records of service to sink.Reset, and from
	// then on each change to sink.Apply, and returns only when ctx ends or when
	// it can no longer tell what changes, with the reason: at the loss of its
	// link, at a failed read, at a refusal. It is then called again, and hands
	// over the whole set anew. At most one Watch of a service is under way.
	//
	// Changes may be merged, but the last one is not lost, whenever it happens:
	// arm the watch, then read.
	Watch(ctx context.Context, service string, sink Sink) error

	// Current reports whether version, which Watch handed to its sink, is still
	// that of the set of records of service. It costs a small request or two,
	// however many records there are. False while the news is under way to the
	// sink is fine: the Registry allows for that. version may be "", before the first
	// set: then any answer will do, but it is no error.
	//
	// One that gets no answer until its ctx's deadline returns an error that wraps
	// context.DeadlineExceeded: it is how the Registry tells silence from a link that
	// broke.
	Current(ctx context.Context, service, version string) (bool, error)

	// Close gives up all links. It is called once, after every other call of
	// the Backend and of its Sessions has returned.
	Close() error
}

// A Session owns records: when it ends, the server drops them. Its methods are
// called from several goroutines, but Put and Delete only from one at a time.
//
// Once the server has ended the session, or can be reached and does not know it,
// every method returns an error that wraps ErrSessionLost. A session that merely
// cannot be reached is not lost.
type Session interface {
	// String names the session as logs show it, and as the server's own tools
	// know it: "session 0x100004c5d2a0003".
	String() string

	// TTL is what the server granted; it is positive.
	TTL() time.Duration

	// Renew extends the session by TTL, counted from some moment within the
	// call, in one round trip. The Registry calls it every third of TTL, with a
	// deadline of a quarter of it.
	Renew(ctx context.Context) error

	// Guard calls lost for each record that was written by Put and that this
	// session no longer holds, because somebody else deleted it or took it
	// over; not for what Delete removed. A record that was lost before Guard
	// looked is reported too. Each report is logged and counted as a loss, and costs
	// a Put, so one that is still held is reported in doubt only. lost is safe for
	// concurrent use.
	// Guard returns when ctx ends, when the session is over, or with an error
	// when it cannot tell, whereupon it is called again.
	Guard(ctx context.Context, lost func(service, id string)) error

	// Put writes recs, creating or replacing each in one step, without a
	// moment in which it is absent. Who holds a record already loses it if
	// TakeOver is set or if its Owner is the same (see [OwnerOf]); otherwise it
	// is left alone and the error is ErrSuperseded. A record that this session
	// holds already with the same value is a success.
	//
	// The errors are in the order of recs; nil means that all are written. An
	// error that is not one of the sentinels means that the outcome is
	// unknown: the record is then put again. As few requests as the registry
	// allows are made of recs, and one that is refused does not fail the
	// others: see [Batch].
	Put(ctx context.Context, recs []Record) []error

	// Delete removes those of recs that this session holds. It leaves alone
	// what others hold or what is absent, which is a success. Of recs, only Service
	// and ID count. Errors as for Put.
	Delete(ctx context.Context, recs []Record) []error

	// Close ends the session at the server, so that its records go now, and in
	// any case here: once it has returned, nothing renews the session, and nothing
	// more is sent. An error means that the server has not confirmed it.
	Close(ctx context.Context) error
}

// A Record is what a registry stores for an instance, at
// <root>/<service>/<id>.
type Record struct {
	Service, ID string

	// Value is one line of JSON, or whatever somebody else has written there.
	// It must not be modified.
	Value []byte

	// Owner is the registration that writes the record: the same through all
	// its sessions and updates, and part of Value. Only for Put.
	Owner string

	// TakeOver is set until the first writing of a registration is confirmed.
	// Only for Put.
	TakeOver bool
}

// A Sink receives what a Watch sees. Only that Watch calls it, from one
// goroutine at a time, and not after it has returned. Its methods do not block
// on readers.
//
// The version is opaque to the Registry, which hands it to Current. The records
// handed over so far are at least as new as it.
type Sink interface {
	// Reset replaces the set by recs.
	Reset(recs []Record, version string)

	// Apply adds or replaces the records in put and removes those whose IDs are
	// in gone. All of one call become visible together.
	Apply(put []Record, gone []string, version string)
}
