package etcdreg

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-rollcall/registry"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A holding is what the session holds of one service. Its fields are guarded by
// the session's mutex.
type holding struct {
	keys   map[string]hold
	lo, hi string        // the first and the last key that was ever held
	grown  chan struct{} // capacity 1: lo or hi has moved
}

// A hold is a record that was ours at a revision.
type hold struct {
	id       string
	revision int64
}

func (s *session) hold(rec registry.Record, revision int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := s.b.key(rec.Service, rec.ID)
	h := s.held[rec.Service]
	if h == nil {
		h = &holding{keys: map[string]hold{}, lo: key, hi: key, grown: make(chan struct{}, 1)}
		s.held[rec.Service] = h
		signal(s.wake)
	}
	if key < h.lo || key > h.hi {
		h.lo, h.hi = min(key, h.lo), max(key, h.hi)
		signal(h.grown)
	}
	h.keys[key] = hold{rec.ID, revision}
}

func (s *session) release(service, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.held[service]; h != nil {
		delete(h.keys, s.b.key(service, id))
	}
}

// Guard watches, for each service, the keys from the first to the last that the
// session holds: one watch, and little of what others do.
func (s *session) Guard(ctx context.Context, lost func(service, id string)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	guarded := map[string]bool{}
	for {
		s.mu.Lock()
		services := slices.Collect(maps.Keys(s.held))
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
// is added outside of what it follows it begins anew, once they cease to be added.
func (s *session) guard(ctx context.Context, service string, lost func(service, id string)) error {
	s.mu.Lock()
	h := s.held[service]
	s.mu.Unlock()
	for {
		if err := settle(ctx, h.grown); err != nil {
			return err
		}
		s.mu.Lock()
		lo, end := h.lo, h.hi+"\x00"
		s.mu.Unlock()
		c, err := s.b.connect(ctx)
		if err != nil {
			return err
		}
		gone, revision, err := s.look(ctx, c, h, lo, end)
		if err != nil {
			return err
		}
		for _, key := range gone {
			s.lose(service, key, revision, lost)
		}
		err = s.b.stream(ctx, c, lo, end, revision, func(r clientv3.WatchResponse) {
			for _, ev := range r.Events {
				if ev.Type == clientv3.EventTypeDelete || clientv3.LeaseID(ev.Kv.Lease) != s.lease {
					s.lose(service, string(ev.Kv.Key), ev.Kv.ModRevision, lost)
				}
			}
		}, h.grown)
		if err != nil {
			return err
		}
	}
}

// look returns the keys from lo to end that the session does not hold any more, as
// of a revision. The keys alone tell when each was written last, and that is as it
// should be, most of the time. If one was written since, whose lease it is on is
// known only when all is read.
func (s *session) look(ctx context.Context, c *conn, h *holding, lo, end string) (gone []string, revision int64, err error) {
	for _, opts := range [][]clientv3.OpOption{{clientv3.WithKeysOnly()}, nil} {
		sent := time.Now()
		resp, err := c.client.Get(ctx, lo, append(opts, clientv3.WithRange(end))...)
		if err != nil {
			return nil, 0, s.b.explain(ctx, c, sent, err)
		}
		revision, gone = resp.Header.Revision, nil
		there := make(map[string]*mvccpb.KeyValue, len(resp.Kvs))
		for _, kv := range resp.Kvs {
			there[string(kv.Key)] = kv
		}
		s.mu.Lock()
		for key, held := range h.keys {
			kv := there[key]
			ours := kv != nil && (kv.ModRevision == held.revision || clientv3.LeaseID(kv.Lease) == s.lease)
			if lo <= key && key < end && held.revision <= revision && !ours {
				gone = append(gone, key)
			}
		}
		s.mu.Unlock()
		if len(gone) == 0 {
			break
		}
	}
	return gone, revision, nil
}

// lose reports a record that is not ours as of a revision, unless it was written
// since.
func (s *session) lose(service, key string, revision int64, lost func(service, id string)) {
	s.mu.Lock()
	h := s.held[service]
	held, ok := h.keys[key]
	ok = ok && held.revision <= revision
	if ok {
		delete(h.keys, key)
	}
	s.mu.Unlock()
	if ok {
		lost(service, held.id)
	}
}

// settle returns when grown has been quiet for a while.
func settle(ctx context.Context, grown <-chan struct{}) error {
	const quiet, most = 50 * time.Millisecond, time.Second
	deadline := time.Now().Add(most)
	for {
		t := time.NewTimer(min(quiet, time.Until(deadline)))
		select {
		case <-grown:
			t.Stop()
			if time.Now().Before(deadline) {
				continue
			}
			return nil
		case <-t.C:
			return nil
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		}
	}
}
