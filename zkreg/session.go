package zkreg

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-zookeeper/zk"
)

// A session owns nodes. It has a connection of its own, so that renewals do not
// wait behind a long listing.
type session struct {
	b  *Backend
	c  *conn
	id int64

	mu      sync.Mutex
	held    map[string]int32  // by path: the parent's version at which the node was ours
	parents map[string]parent // by path, as last read
	look    map[string]bool   // paths that Guard has yet to look at
	busy    bool              // a write is under way: Guard waits
	wake    chan struct{}     // capacity 1
}

// NewSession opens a connection of its own. The server grants 2 to 20 of its
// ticks.
func (b *Backend) NewSession(ctx context.Context, ttl time.Duration) (registry.Session, error) {
	c, err := b.open(ttl, true)
	if err != nil {
		return nil, err
	}
	if err := c.ready(ctx); err != nil {
		c.close(ctx)
		return nil, err
	}
	s := &session{b: b, c: c, id: c.zk.SessionID(), held: map[string]int32{}, parents: map[string]parent{}, look: map[string]bool{}, wake: make(chan struct{}, 1)}
	c.watches.tell(s.check)
	return s, nil
}

func (s *session) TTL() time.Duration {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.c.granted
}

// Renew asks the leader, not only the server that is connected: any request
// renews the session, but only the leader can say that it lives.
func (s *session) Renew(ctx context.Context) error { return s.c.sync(ctx, "/") }

func (s *session) Close(ctx context.Context) error {
	if !s.c.close(ctx) {
		return fmt.Errorf("%s has not confirmed the end of session %#x", s.c.zk.Server(), s.id)
	}
	return nil
}

// check has Guard look at a node. The client library waits for it.
func (s *session) check(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checkLocked(path)
}

func (s *session) checkLocked(path string) {
	if _, ok := s.held[path]; ok {
		s.look[path] = true
		s.nudge()
	}
}

func (s *session) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Guard keeps a watch on each node that the session holds. It looks at a node
// once it is written and whenever its watch fires, but not while a write is
// under way, which goes first.
func (s *session) Guard(ctx context.Context, lost func(service, id string)) error {
	s.nudge()
	for {
		changed, _ := s.c.down()
		if err := s.c.ready(ctx); err != nil {
			return err
		}
		if err := s.inspect(ctx, s.some(), lost); err != nil {
			return err
		}
		select {
		case <-s.wake:
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// some takes a number of paths to look at.
func (s *session) some() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var paths []string
	if s.busy {
		return nil
	}
	for path := range s.look {
		if len(paths) == inFlight {
			s.nudge() // there is more
			break
		}
		paths = append(paths, path)
		delete(s.look, path)
	}
	return paths
}

func (s *session) inspect(ctx context.Context, paths []string, lost func(service, id string)) error {
	return parallel(len(paths), func(i int) error {
		path := paths[i]
		owner, err := s.watchOwner(ctx, path)
		s.mu.Lock()
		_, held := s.held[path]
		switch {
		case err != nil:
			s.checkLocked(path) // next time
		case held && owner != s.id && !s.busy:
			delete(s.held, path)
		case held && s.busy:
			s.checkLocked(path) // what was seen may be older than what is being written
			held = false
		}
		s.mu.Unlock()
		if err == nil && held && owner != s.id {
			lost(s.b.split(path))
		}
		return err
	})
}

// watchOwner returns the session that owns the node at path, with a watch armed
// on it; 0 if there is none.
func (s *session) watchOwner(ctx context.Context, path string) (int64, error) {
	n, set := s.c.watches.arm(path)
	st, err := call(ctx, s.c, func() (st *zk.Stat, err error) {
		var ok bool
		if set {
			ok, st, _, err = s.c.zk.ExistsW(path)
		} else {
			ok, st, err = s.c.zk.Exists(path)
		}
		if !ok {
			st = &zk.Stat{}
		}
		return st, err
	})
	if err != nil {
		if set {
			s.c.watches.unarm(path, n)
		}
		return 0, err
	}
	return st.EphemeralOwner, nil
}

// errMoved: the node or its parent changed between reading and writing.
var errMoved = errors.New("somebody else wrote the same record at the same time")

func (s *session) Put(ctx context.Context, recs []registry.Record) []error {
	return s.write(ctx, recs, s.planPut)
}

func (s *session) Delete(ctx context.Context, recs []registry.Record) []error {
	return s.write(ctx, recs, s.planDelete)
}

// planPut reads what is there and decides.
func (s *session) planPut(ctx context.Context, p *plan) (done bool, err error) {
	rec := p.rec
	old, err := s.c.get(ctx, p.path)
	if err != nil || old == nil {
		return false, err
	}
	ours := old.stat.EphemeralOwner == s.id
	switch {
	case ours && string(old.value) == string(rec.Value):
		s.hold(p)
		return true, nil
	case !ours && !rec.TakeOver && registry.OwnerOf(old.value) != rec.Owner:
		return false, fmt.Errorf("%w (session %#x holds it: %.200q)", registry.ErrSuperseded, old.stat.EphemeralOwner, old.value)
	case old.stat.NumChildren > 0:
		return false, fmt.Errorf("%w: node %s has children: remove it", registry.ErrInvalid, p.path)
	}
	p.remove, p.take = true, !ours
	return false, nil
}

func (s *session) planDelete(ctx context.Context, p *plan) (done bool, err error) {
	st, err := s.c.stat(ctx, p.path)
	if err != nil || st == nil || st.EphemeralOwner != s.id {
		return true, err
	}
	p.remove = true
	return false, nil
}
