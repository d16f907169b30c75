// Package late checks that a request which was given up, and is carried out after others
// that followed it, changes nothing.
package late

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
)

// A Kind is one of requests.
type Kind int

const (
	Write    Kind = iota + 1 // of what is absent, or ours
	TakeOver                 // of what is another session's
	Delete
)

// A Network keeps requests, as a server does that is paused.
type Network struct {
	Keep    func(Kind) // the next requests of that kind, until Pass
	Pass    func()
	Deliver func() error // has the last one that was kept carried out, and answered
}

// Run has each kind of request come late, on b behind n.
func Run(t *testing.T, b registry.Backend, n Network) {
	l := &run{T: t, b: b, n: n}
	session, other := l.session(), l.session()
	for range 2 { // a fence moves for the first time, and then again
		l.late(Write, session.Put, record("1"))
		l.do(session.Delete, record("1"))
		l.deliver("a creation after the deletion", nil)

		l.do(session.Put, record("2"))
		l.late(Write, session.Put, record("3"))
		l.do(session.Put, record("4"))
		l.deliver("an update after the next", record("4"))

		l.late(Delete, session.Delete, record("4"))
		l.do(session.Put, record("5"))
		l.deliver("a deletion after the next registration", record("5"))
		l.do(session.Delete, record("5"))

		l.do(other.Put, record("6"))
		l.late(TakeOver, session.Put, record("7"))
		l.do(other.Delete, record("6"))
		l.do(session.Delete, record("7"))
		l.deliver("a takeover after the deletion", nil)
	}
}

type run struct {
	*testing.T
	b registry.Backend
	n Network
}

func (l *run) session() registry.Session {
	s, err := l.b.NewSession(l.Context(), 20*time.Second)
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { _ = s.Close(context.Background()) })
	return s
}

func record(n string) []registry.Record {
	return []registry.Record{{Service: "svc", ID: "x", Value: []byte(`{"addr":"h:1","meta":{"n":"` + n + `"},"owner":"o"}`), Owner: "o"}}
}

type operation func(context.Context, []registry.Record) []error

// do tries as the root does: the outcome of what came before may be unknown.
func (l *run) do(op operation, recs []registry.Record) {
	l.Helper()
	for tries := 0; ; tries++ {
		errs := op(l.Context(), recs)
		if errs == nil || errs[0] == nil {
			return
		}
		if tries == 3 {
			l.Fatal(errs[0])
		}
	}
}

// late gives the operation up.
func (l *run) late(k Kind, op operation, recs []registry.Record) {
	l.Helper()
	l.n.Keep(k)
	defer l.n.Pass()
	ctx, cancel := context.WithTimeout(l.Context(), 300*time.Millisecond)
	defer cancel()
	if errs := op(ctx, recs); errs == nil || errs[0] == nil {
		l.Fatal("there was an answer")
	}
}

// deliver sees that there is no more and no less than want afterwards.
func (l *run) deliver(what string, want []registry.Record) {
	l.Helper()
	if err := l.n.Deliver(); err != nil {
		l.Fatalf("%s: %v", what, err)
	}
	got, err := l.b.Lookup(l.Context(), "svc")
	if err != nil || !slices.Equal(values(got), values(want)) {
		l.Errorf("%s: there is %q (%v), want %q", what, values(got), err, values(want))
	}
}

func values(recs []registry.Record) (list []string) {
	for _, rec := range recs {
		list = append(list, string(rec.Value))
	}
	return list
}
