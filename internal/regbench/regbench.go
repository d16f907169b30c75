// Package regbench measures a backend beside the client library that it is made
// of, each as the other would be used in its place: on one server, in one run, in
// turns. What disturbs the machine then disturbs both, and the ratio of the two
// means something where neither number does by itself.
//
// The benchmarks are here, once; a backend's package says how its client library
// does the same:
//
//	func BenchmarkZooKeeper(b *testing.B) { regbench.Run(b, regbench.Subject{…}) }
package regbench

import (
	"context"
	"testing"

	"github.com/go-rollcall/registry"
)

// A Subject is what is measured: a backend, and its client library by itself.
type Subject struct {
	// Place makes an empty root on the server, which goes when b ends. The name
	// begins with a slash.
	Place func(b *testing.B, root string) Place

	Batch    int // records in one Client.Write: what is fastest
	InFlight int // such requests at a time: as many as the backend makes
}

// A Place is a root that nobody else uses.
type Place struct {
	// Backend is ours. What it dials is counted by m.
	Backend func(m *Meter) registry.Backend

	// Connect opens a connection and a session, which lasts until Close, and makes
	// what there must be before service can have records.
	Connect func(m *Meter, service string) (Client, error)
}

// A Client is the client library by itself, as used by somebody who knows it well
// and writes only what the benchmark asks for: nothing is tried again, and nobody's
// record is looked at before it is replaced. All is about one service. The records
// are of the client's session, and go with it.
type Client interface {
	// Write makes one request of many records, which are new, or there already with
	// another value. It is called from several goroutines.
	Write(recs []registry.Record, there bool) error

	// Create, Update and Delete are the shortest way for one record.
	Create(rec registry.Record) error
	Update(rec registry.Record) error
	Delete(id string) error

	// Watch reads what is there and watches it. It is called once.
	Watch() error

	// Await returns when the watch has told that the record is there with that
	// value, or that it is gone if the value is nil. What it is not asked about it
	// need not read.
	Await(ctx context.Context, rec registry.Record) error

	// List returns how many records there are, having read all.
	List() (int, error)

	// Services returns how many services the place has.
	Services() (int, error)

	Close()
}

const many = 10_000

// Run runs all benchmarks. In each, "raw" is the client library and "ours" is a
// Registry.
func Run(b *testing.B, s Subject) {
	b.Run("Register10k", s.register10k)
	b.Run("Update10k", s.update10k)
	b.Run("RegisterToWatcher", s.registerToWatcher)
	b.Run("ChangeIn10k", s.changeIn10k)
	b.Run("QuietWatch10k", s.quietWatch10k)
	b.Run("Readers", s.readers)
	b.Run("Lookup10k", s.lookup10k)
	b.Run("Services100", s.services100)
}
