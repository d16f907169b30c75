package etcdreg

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-rollcall/registry"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A holding is what the session holds of one service, or may hold. Its fields are
// guarded by the session's mutex.
type holding struct {
	held    map[string]hold // by key
	writing map[string]bool // keys whose writing is under way
	lo, hi  string          // the first and the last key that was ever written
	grown   chan struct{}   // capacity 1: lo or hi has moved, or a key is held that was not
}

// A hold is a record that was ours at a revision.
type hold struct {
	id       string
	revision int64
}

// begin notes that recs are about to be written. Until they are done a loss is no
// news.
func (s *session) begin(recs []registry.Record) {
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
		h.writing[key] = true
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

// Guard watches, for each service, the keys from the first to the last that the
// session has written: one watch, and little of what others do.
func (s *session) Guard(ctx context.Context, lost func(service, id string)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	guarded := map[string]bool{}
	for {
		s.mu.Lock()
		services := slices.Collect(maps.Keys(s.holdings))
		s.mu.Unlock()
		for _, service := range services {
			if !guarded[service] {
				guarded[service] = true
				wg.Go(func() { cancel(s.guard(ctx, service, lost)) })
			}
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// guard looks at the keys as of a revision, and follows them from there. When one
// is added it begins anew, once they cease to be added.
func (s *session) guard(ctx context.Context, service string, lost func(service, id string)) error {
	s.mu.Lock()
	h := s.holdings[service]
	s.mu.Unlock()
	for {
		if err := s.settle(ctx); err != nil {
			return err
		}
		c, err := s.b.connect(ctx)
		if err != nil {
			return err
		}
		s.mu.Lock()
		lo, end := h.lo, h.hi+"\x00"
		before := maps.Clone(h.held)
		s.mu.Unlock()
		sent := time.Now()
		resp, err := c.client.Get(ctx, lo, clientv3.WithRange(end), clientv3.WithKeysOnly()) // which come without leases
		if err != nil {
			return s.b.explain(ctx, c, sent, err)
		}
		at := make(map[string]int64, len(resp.Kvs))
		for _, kv := range resp.Kvs {
			at[string(kv.Key)] = kv.ModRevision
		}
		for key, held := range before {
			if lo <= key && key < end && at[key] != held.revision {
				s.lose(h, service, key, held, lost)
			}
		}
		err = s.b.stream(ctx, c, lo, end, resp.Header.Revision, func(r clientv3.WatchResponse) {
			for _, ev := range r.Events {
				s.see(h, service, ev, lost)
			}
		}, h.grown)
		if err != nil {
			return err
		}
	}
}

// see judges one change of a key.
func (s *session) see(h *holding, service string, ev *clientv3.Event, lost func(service, id string)) {
	key := string(ev.Kv.Key)
	ours := ev.Type != clientv3.EventTypeDelete && clientv3.LeaseID(ev.Kv.Lease) == s.lease
	s.mu.Lock()
	held, holds := h.held[key]
	s.mu.Unlock()
	if holds && !ours && held.revision <= ev.Kv.ModRevision {
		s.lose(h, service, key, held, lost)
	}
}

// lose reports a record that is not as it was held, unless it was written since.
func (s *session) lose(h *holding, service, key string, was hold, lost func(service, id string)) {
	s.mu.Lock()
	gone := h.held[key] == was && !h.writing[key]
	if gone {
		delete(h.held, key)
	}
	s.mu.Unlock()
	if gone {
		lost(service, was.id)
	}
}

// settle returns when nothing has been written for a while: what the guard reads in
// the meantime would hold up the writing.
func (s *session) settle(ctx context.Context) error {
	const quiet, most = 50 * time.Millisecond, time.Second
	for deadline := time.Now().Add(most); ; {
		s.mu.Lock()
		now := time.Now()
		left := min(s.wrote.Add(quiet).Sub(now), deadline.Sub(now))
		s.mu.Unlock()
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
