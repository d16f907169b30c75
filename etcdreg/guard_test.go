package etcdreg

import (
	"testing"

	"github.com/go-rollcall/registry"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A record that is updated, and deleted by somebody before the answer to the update was
// noted, is looked at again.
func TestLossWhileWriting(t *testing.T) {
	s := &session{b: &Backend{}, lease: 1, holdings: map[string]*holding{}, wake: make(chan struct{}, 1)}
	recs := []registry.Record{{Service: "svc", ID: "x"}}
	s.begin(recs, true)
	s.done(recs, 90)
	all := s.unwatched() // which has seen it
	s.begin(recs, true)
	deleted := &clientv3.Event{Type: clientv3.EventTypeDelete, Kv: &mvccpb.KeyValue{Key: []byte(s.b.key("svc", "x")), ModRevision: 101}}
	s.see(all[0], deleted, func(_, id string) { t.Errorf("%s is lost, and was being written", id) })
	s.done(recs, 100)
	select {
	case <-all[0].grown:
	default:
		t.Error("nobody looks again")
	}

	s.begin(recs, false) // a withdrawal of our own is no reason to look
	s.see(all[0], deleted, func(_, id string) { t.Errorf("%s is lost, and was being deleted", id) })
	s.done(recs, 0)
	select {
	case <-all[0].grown:
		t.Error("somebody looks again")
	default:
	}
}

// A record that is overwritten right after an update, of which is read before the answer to
// the update was noted, is lost.
func TestLossAfterWriting(t *testing.T) {
	s := &session{b: &Backend{}, lease: 1, holdings: map[string]*holding{}, wake: make(chan struct{}, 1)}
	recs := []registry.Record{{Service: "svc", ID: "x"}}
	s.begin(recs, true)
	s.done(recs, 90)
	s.begin(recs, true)
	w := s.unwatched()[0]
	there := func(revision int64) []*mvccpb.KeyValue {
		return []*mvccpb.KeyValue{{Key: []byte(s.b.key("svc", "x")), ModRevision: revision}}
	}
	lost := 0
	count := func(string, string) { lost++ }
	s.done(recs, 100)
	s.compare(w, there(90), 99, count)
	s.compare(w, there(100), 100, count)
	if lost > 0 {
		t.Error("lost, and it is as it was written")
	}
	s.compare(w, there(101), 102, count)
	if lost != 1 {
		t.Errorf("lost %d times, want once", lost)
	}
}

// A registry that is restored from an older state begins again at an older revision.
func TestLossByRestoring(t *testing.T) {
	s := &session{b: &Backend{}, lease: 1, holdings: map[string]*holding{}, wake: make(chan struct{}, 1)}
	recs := []registry.Record{{Service: "svc", ID: "x"}}
	s.begin(recs, true)
	s.done(recs, 90)
	w := s.unwatched()[0]
	lost := 0
	s.compare(w, []*mvccpb.KeyValue{{Key: []byte(s.b.key("svc", "x")), ModRevision: 10}}, 20, func(string, string) { lost++ })
	if lost != 1 {
		t.Errorf("lost %d times, want once", lost)
	}
}
