package memreg

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/go-rollcall/registry"
)

// A session is both ends of a registry.Session: what the server keeps of it,
// guarded by the store's mutex, and the client's calls, which go through the
// link.
type session struct {
	conn *Conn
	id   int
	ttl  time.Duration

	timer   *time.Timer
	expires time.Time
	over    bool
	records map[[2]string]bool // path and ID of what it owns
	lost    [][2]string        // what it owned, and Guard has yet to report
	wake    chan struct{}      // capacity 1: lost has grown, or the session is over
}

// grant opens a session at the server. The store's mutex is held, as in all
// functions of this file that do not go through the link.
func (s *Store) grant(c *Conn, ttl time.Duration) *session {
	if s.MinTTL > 0 {
		ttl = max(ttl, s.MinTTL)
	}
	if s.MaxTTL > 0 {
		ttl = min(ttl, s.MaxTTL)
	}
	s.opened++
	ss := &session{conn: c, id: s.opened, ttl: ttl, expires: time.Now().Add(ttl), records: map[[2]string]bool{}, wake: make(chan struct{}, 1)}
	ss.timer = time.AfterFunc(ttl, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !time.Now().Before(ss.expires) && s.servers.serves() { // not renewed since the timer fired
			ss.end()
		}
	})
	s.sessions[ss] = true
	return ss
}

// end drops what the session owns.
func (ss *session) end() {
	if ss.over {
		return
	}
	ss.over = true
	ss.timer.Stop()
	for r := range ss.records {
		ss.conn.store.unset(r[0], r[1])
	}
	clear(ss.records) // a store that is restored may have it live again
	delete(ss.conn.store.sessions, ss)
	signal(ss.wake)
}

// lose notes that somebody has taken or deleted a record of the session.
func (ss *session) lose(path, id string) {
	r := [2]string{path, id}
	if ss.records[r] && !ss.over {
		delete(ss.records, r)
		ss.lost = append(ss.lost, r)
		signal(ss.wake)
	}
}

func (ss *session) alive() error {
	if ss.over {
		return fmt.Errorf("%w: the store has ended it", registry.ErrSessionLost)
	}
	return nil
}

func (ss *session) String() string { return fmt.Sprint("session ", ss.id) }

func (ss *session) TTL() time.Duration { return ss.ttl }

func (ss *session) Renew(ctx context.Context) error {
	return ss.conn.call(ctx, func() (int, error) {
		if err := ss.alive(); err != nil {
			return 0, err
		}
		ss.extend()
		return 0, nil
	})
}

func (ss *session) Guard(ctx context.Context, lost func(service, id string)) error {
	signal(ss.wake) // for what the Guard before was told, but did not come to report
	for {
		if err := ss.conn.await(ctx, ss.wake); err != nil {
			return err
		}
		store := ss.conn.store
		store.mu.Lock()
		gone := ss.lost
		ss.lost = nil
		err := ss.alive()
		store.mu.Unlock()
		if err != nil {
			return err
		}
		for _, r := range gone {
			lost(strings.TrimPrefix(r[0], ss.conn.root+"/"), r[1])
		}
	}
}

func (ss *session) Put(ctx context.Context, recs []registry.Record) []error {
	return ss.each(ctx, recs, func(path string, rec registry.Record) error { return ss.conn.store.put(ss, path, rec) })
}

func (ss *session) Delete(ctx context.Context, recs []registry.Record) []error {
	return ss.each(ctx, recs, func(path string, rec registry.Record) error {
		ss.conn.store.delete(ss, path, rec.ID)
		return nil
	})
}

// each makes one request of recs.
func (ss *session) each(ctx context.Context, recs []registry.Record, do func(path string, rec registry.Record) error) []error {
	errs := make([]error, len(recs))
	err := ss.conn.call(ctx, func() (int, error) {
		if err := ss.alive(); err != nil {
			return 0, err
		}
		for i, rec := range recs {
			errs[i] = do(ss.conn.path(rec.Service), rec)
		}
		return len(recs), nil
	})
	if err != nil {
		for i := range errs {
			errs[i] = err
		}
	}
	return errs
}

func (ss *session) Close(ctx context.Context) error {
	return ss.conn.call(ctx, func() (int, error) {
		err := ss.alive()
		ss.end()
		return 0, err
	})
}

// extend gives the session its whole TTL again; the store's mutex is held.
func (ss *session) extend() {
	ss.expires = time.Now().Add(ss.ttl)
	ss.timer.Reset(ss.ttl)
}
