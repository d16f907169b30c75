package zkreg

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
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
	held    map[string]holding // by path
	parents map[string]parent  // by path, as last read
	look    map[string]bool    // paths that Guard has yet to look at
	urgent  map[string]bool    // those whose watch has fired
	writing map[string]bool    // paths whose writing is under way
	wrote   time.Time          // when the last writing ended
	looked  time.Time          // when Guard last looked while there was more to write
	wake    chan struct{}      // capacity 1
}

// A holding is a node that was ours when we last knew.
type holding struct {
	version int32 // the parent's, when we knew
	breaks  int   // of the connection, when we knew
	moved   bool  // its watch has fired since
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
	s := &session{
		b: b, c: c, id: c.zk.SessionID(), held: map[string]holding{}, parents: map[string]parent{},
		look: map[string]bool{}, urgent: map[string]bool{}, writing: map[string]bool{}, wake: make(chan struct{}, 1),
	}
	c.watches.tell(s.fired)
	return s, nil
}

func (s *session) String() string { return fmt.Sprintf("session %#x", s.id) }

func (s *session) TTL() time.Duration {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.c.granted
}

// Renew asks the leader, not only the server that is connected: any request
// renews the session, but only the leader can say that it lives.
func (s *session) Renew(ctx context.Context) error { return s.c.sync(ctx, "/") }

func (s *session) Close(ctx context.Context) error {
	confirmed := s.c.close(ctx)
	s.c.mu.Lock()
	expired := s.c.expired && !s.c.guessed
	s.c.mu.Unlock()
	switch {
	case expired:
		return fmt.Errorf("%w: %v", registry.ErrSessionLost, s)
	case !confirmed:
		return fmt.Errorf("%s has not confirmed the end of %v", s.c.zk.Server(), s)
	}
	return nil
}

// fired is told of each event. The client library waits for it.
func (s *session) fired(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h, ok := s.held[path]; ok {
		h.moved = true
		s.held[path] = h
		s.urgent[path] = true
		if !s.writing[path] { // else it is our own writing, whose end wakes Guard
			s.nudge()
		}
	}
}

// lookAt has Guard look at a node. s.mu is held.
func (s *session) lookAt(path string) {
	s.look[path] = true
	s.nudge()
}

func (s *session) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Guard keeps a watch on each node that the session holds. It looks at a node
// once it is written and whenever its watch fires, but not while the node is being
// written.
func (s *session) Guard(ctx context.Context, lost func(service, id string)) error {
	s.nudge()
	seen := -1
	for {
		changed, _, breaks := s.c.state()
		if err := s.c.ready(ctx); err != nil {
			return err
		}
		if breaks != seen {
			if err := s.lookAtMoved(ctx); err != nil {
				return err
			}
			seen = breaks
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

// some takes a number of paths to look at: those whose watch has fired, and few others
// while writes come one after the other, as the next waits behind them.
func (s *session) some() (paths []string) {
	const quiet, patience = 50 * time.Millisecond, 250 * time.Millisecond
	s.mu.Lock()
	defer s.mu.Unlock()
	take := func(from map[string]bool, most int) {
		for path := range from {
			if len(paths) >= most {
				s.nudge() // there is more
				return
			}
			if !s.writing[path] {
				paths = append(paths, path)
				s.unlook(path)
			}
		}
	}
	take(s.urgent, inFlight)
	writing := len(s.writing) > 0
	switch {
	case !writing && time.Since(s.wrote) >= quiet:
		take(s.look, inFlight)
	case time.Since(s.looked) >= patience:
		take(s.look, inFlight/4)
		s.looked = time.Now()
	case !writing:
		take(s.look, 8)
	}
	return paths
}

// unlook undoes lookAt, and what fired has noted. s.mu is held.
func (s *session) unlook(path string) {
	delete(s.look, path)
	delete(s.urgent, path)
}

// lookAtMoved looks at all nodes of the services in which somebody has taken a node while
// there was no connection. Watches that are set again tell of that, too; this does not
// depend on them.
func (s *session) lookAtMoved(ctx context.Context) error {
	s.mu.Lock()
	known := maps.Clone(s.parents)
	s.mu.Unlock()
	parents := slices.Collect(maps.Keys(known))
	moved := make([]bool, len(parents))
	err := parallel(len(parents), func(i int) error {
		st, err := s.c.stat(ctx, parents[i])
		moved[i] = st == nil || st.Version != known[parents[i]].version
		return err
	})
	if err != nil {
		return err
	}
	look := map[string]bool{}
	for i, parent := range parents {
		look[parent] = moved[i]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for node := range s.held {
		if look[path.Dir(node)] {
			s.lookAt(node)
		}
	}
	return nil
}

// inspect reports those of paths that the session has lost.
func (s *session) inspect(ctx context.Context, paths []string, lost func(service, id string)) error {
	done := make([]bool, len(paths))
	err := parallel(len(paths), func(i int) error {
		st, err := s.watchStat(ctx, paths[i])
		if err != nil {
			return err
		}
		done[i] = s.judge(paths[i], st, lost)
		return nil
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, path := range paths {
		if !done[i] {
			if s.held[path].moved {
				s.urgent[path] = true
			}
			s.lookAt(path)
		}
	}
	return err
}

// judge reports the node at path as lost if it is not as the session wrote it. It
// cannot tell, and returns false, while that is being written.
func (s *session) judge(path string, st *zk.Stat, lost func(service, id string)) bool {
	s.mu.Lock()
	_, held := s.held[path]
	busy := s.writing[path]
	ours := st.EphemeralOwner == s.id && st.Version == 0 // else somebody has set its data
	if held && !busy && !ours {
		delete(s.held, path)
	}
	s.mu.Unlock()
	if held && !busy && !ours {
		lost(s.b.split(path))
	}
	return !held || !busy
}

// watchStat reads the stat of the node at path, with a watch armed on it; it is
// that of no session's if there is no node.
func (s *session) watchStat(ctx context.Context, path string) (*zk.Stat, error) {
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
	if err != nil && set {
		s.c.watches.unarm(path, n)
	}
	return st, err
}

func (s *session) Put(ctx context.Context, recs []registry.Record) []error {
	return s.write(ctx, recs, true, s.planPut)
}

func (s *session) Delete(ctx context.Context, recs []registry.Record) []error {
	return s.write(ctx, recs, false, s.planDelete)
}

// planPut reads what is there and decides.
func (s *session) planPut(ctx context.Context, p *plan) (done bool, err error) {
	rec := p.rec
	_, _, breaks := s.c.state()
	old, err := s.c.get(ctx, p.path)
	if err != nil || old == nil {
		return false, err
	}
	ours := old.stat.EphemeralOwner == s.id
	switch {
	case ours && old.stat.Version == 0 && string(old.value) == string(rec.Value):
		s.mu.Lock()
		s.hold(p, breaks)
		s.mu.Unlock()
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
