package etcdreg

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-rollcall/registry"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A holding is what the session holds of one service, or may hold. Its fields are
// guarded by the session's mutex.
type holding struct {
	held    map[string]hold // by key
	writing map[string]bool // keys whose writing is under way; true: a Put
	lo, hi  string          // the first and the last key that was ever written
	watched bool
	grown   chan struct{} // capacity 1: lo or hi has moved, or a key is held that was not
}

// A hold is a record that was ours at a revision.
type hold struct {
	id       string
	revision int64
}

// begin notes that recs are about to be written: put, or else deleted. Until they are done
// a loss is no news.
func (s *session) begin(recs []registry.Record, put bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rec := range recs {
		key := s.b.key(rec.Service, rec.ID)
		h := s.holdings[rec.Service]
		if h == nil {
			h = &holding{held: map[string]hold{}, writing: map[string]bool{}, lo: key, hi: key, grown: make(chan struct{}, 1)}
			s.holdings[rec.Service] = h
			signal(s.wake)
		}
		if key < h.lo || key > h.hi {
			h.lo, h.hi = min(key, h.lo), max(key, h.hi)
			signal(h.grown)
		}
		h.writing[key] = put
	}
	s.wrote = time.Now()
}

// done notes the outcome of writing recs: held as of a revision, or not, for all
// that is known, if that is 0.
func (s *session) done(recs []registry.Record, revision int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrote = time.Now()
	for _, rec := range recs {
		key := s.b.key(rec.Service, rec.ID)
		h := s.holdings[rec.Service]
		delete(h.writing, key)
		if revision == 0 {
			delete(h.held, key)
			continue
		}
		if _, had := h.held[key]; !had {
			signal(h.grown) // its loss may have been seen before it was noted here
		}
		h.held[key] = hold{rec.ID, revision}
	}
}

// heldAt returns the revisions at which recs were ours, 0 for those that are not.
func (s *session) heldAt(recs []registry.Record) []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := make([]int64, len(recs))
	for i, rec := range recs {
		at[i] = s.holdings[rec.Service].held[s.b.key(rec.Service, rec.ID)].revision
	}
	return at
}

// A scope is what is watched of one holding.
type scope struct {
	*holding
	service   string
	from, end string
	before    map[string]hold // what was held when it was made
}

// Guard watches, for each service, the keys from the first to the last that the
// session has written: one watch, and little of what others do. What is not watched yet
// is read in one request, from whose revision the watches go on.
func (s *session) Guard(ctx context.Context, lost func(service, id string)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	s.unwatch()
	for {
		select {
		case <-s.wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := s.settle(ctx); err != nil {
			return err
		}
		for some := range slices.Chunk(s.unwatched(), batch.Records) {
			revision, err := s.review(ctx, some, lost)
			if err != nil {
				return err
			}
			for _, w := range some {
				wg.Go(func() {
					if err := s.follow(ctx, w, revision, lost); err != nil {
						cancel(err)
					}
				})
			}
		}
	}
}

// unwatch has all holdings watched anew.
func (s *session) unwatch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.holdings {
		h.watched = false
	}
	signal(s.wake)
}

// unwatched returns what is to be watched, and is taken to be from now on.
func (s *session) unwatched() (all []scope) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for service, h := range s.holdings {
		if h.watched {
			continue
		}
		h.watched = true
		select {
		case <-h.grown: // up to here it is in the scope
		default:
		}
		all = append(all, scope{h, service, h.lo, h.hi + "\x00", maps.Clone(h.held)})
	}
	return all
}

// review looks for what was lost, and returns the revision as of which it looked.
func (s *session) review(ctx context.Context, all []scope, lost func(service, id string)) (revision int64, err error) {
	txn := &pb.TxnRequest{}
	for _, w := range all {
		keys := &pb.RangeRequest{Key: []byte(w.from), RangeEnd: []byte(w.end), KeysOnly: true} // which come without leases
		txn.Success = append(txn.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: keys}})
	}
	resp, err := s.commit(ctx, txn)
	if err != nil {
		return 0, err
	}
	for i, w := range all {
		s.compare(w, resp.Responses[i].GetResponseRange().GetKvs(), resp.Header.Revision, lost)
	}
	return resp.Header.Revision, nil
}

// compare looks for what was lost of w, as keys are what there is at a revision.
func (s *session) compare(w scope, keys []*mvccpb.KeyValue, revision int64, lost func(service, id string)) {
	there := map[string]int64{}
	for _, kv := range keys {
		there[string(kv.Key)] = kv.ModRevision
	}
	for key, held := range w.before {
		s.judge(w, key, held, there[key], revision, lost)
	}
}

// follow watches w. When it has grown it is watched anew, once it ceases to grow.
func (s *session) follow(ctx context.Context, w scope, revision int64, lost func(service, id string)) error {
	c, err := s.b.connect(ctx)
	if err != nil {
		return err
	}
	err = s.b.stream(ctx, c, w.from, w.end, revision, func(r clientv3.WatchResponse) {
		for _, ev := range r.Events {
			s.see(w, ev, lost)
		}
	}, w.grown)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w.watched = false
	signal(s.wake)
	return nil
}

// see looks at one change of a key, which is a loss if it is not our own.
func (s *session) see(w scope, ev *clientv3.Event, lost func(service, id string)) {
	if ev.Type == clientv3.EventTypeDelete || clientv3.LeaseID(ev.Kv.Lease) != s.lease {
		s.judge(w, string(ev.Kv.Key), hold{}, 0, ev.Kv.ModRevision, lost)
	}
}

// judge reports the record of key as lost if it is not the one that was there (there is the
// revision of that, 0 if there was none) as of revision, unless it was written after that. It
// was not if it is held as it was before one looked, whatever the revisions: a registry that
// is restored begins at an older one. While it is being put nothing can be said.
func (s *session) judge(w scope, key string, was hold, there, revision int64, lost func(service, id string)) {
	s.mu.Lock()
	putting, writing := w.writing[key]
	held, holds := w.held[key]
	gone := holds && held.revision != there && (held == was || held.revision <= revision)
	if gone && putting {
		signal(w.grown) // what was put may be lost already: it is read again when that is done
	}
	gone = gone && !writing
	if gone {
		delete(w.held, key)
	}
	s.mu.Unlock()
	if gone {
		lost(w.service, held.id)
	}
}

// settle returns when nothing is being written, and has been for a while: what the guard
// reads in the meantime would hold up the writing, and be read again after it.
func (s *session) settle(ctx context.Context) error {
	const quiet, most = 50 * time.Millisecond, time.Second
	for deadline := time.Now().Add(most); ; {
		left := min(s.untilQuiet(quiet), time.Until(deadline))
		if left <= 0 {
			return nil
		}
		t := time.NewTimer(left)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		}
	}
}

// untilQuiet returns when nothing will have been written for as long as quiet, if nothing
// is from now on.
func (s *session) untilQuiet(quiet time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.holdings {
		if len(h.writing) > 0 {
			return quiet
		}
	}
	return quiet - time.Since(s.wrote)
}
