package consulreg

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/hashicorp/consul/api"
)

// A listener waits for changes of what the session holds in one service.
type listener struct {
	only      string             // the key that is asked for; "" for the service
	seen      uint64             // the index of the last answer, or from which it waits
	interrupt context.CancelFunc // ends the query under way; nil before the first
}

// hold notes that a key is ours, as of index. s.mu is held.
func (s *session) hold(service, key string, index uint64) {
	if s.held[service] == nil {
		s.held[service] = map[string]uint64{}
	}
	s.held[service][key] = index
	l := s.listeners[service]
	switch {
	case l == nil:
		s.nudge() // for one to be started
	case l.only != "" && l.only != key:
		l.interrupt() // it is to listen to both
	case index < l.seen:
		s.look[key] = true // it may have been lost before it was noted here
		s.nudge()
	}
}

// forget drops a key that was ours as of index, or as of any if that is 0, and
// returns the index; 0 if it was not. It is called before a key is written: until
// that is done its loss is no news.
func (s *session) forget(service, key string, index uint64) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.held[service][key]
	if was == 0 || index > 0 && index != was {
		return 0
	}
	delete(s.held[service], key)
	if len(s.held[service]) == 0 {
		delete(s.held, service)
	}
	return was
}

func (s *session) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Guard listens for changes in each service in which the session holds a key, and
// looks at its own keys there when something has changed. First it looks at all of them:
// that is one request, where nobody answers, and not one for each service.
func (s *session) Guard(ctx context.Context, lost func(service, id string)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	s.lookAtAll()
	for {
		select {
		case <-s.wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		began := time.Now()
		if err := s.inspect(ctx, lost); err != nil {
			return err
		}
		for service, l := range s.unheard() {
			wg.Go(func() {
				if err := s.listen(ctx, service, l); err != nil {
					cancel(err)
				}
			})
		}
		// Others write, too: nine tenths of the time are theirs. But an answer that was
		// long in coming must not keep the next loss from being seen.
		if err := pause(ctx, min(9*time.Since(began), maxReadPause)); err != nil {
			return err
		}
	}
}

// unheard returns listeners for the services that have none.
func (s *session) unheard() map[string]*listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	more := map[string]*listener{}
	for service := range s.held {
		if s.listeners[service] == nil {
			s.listeners[service] = &listener{}
			more[service] = s.listeners[service]
		}
	}
	return more
}

// listen has Guard look at all keys that the session holds in service whenever something
// has changed there, until it holds none.
//
// A single key is listened to by itself: where each of 1,000 owners has one, each
// is woken by its own only. Several are listened to as the whole service, on one
// connection.
func (s *session) listen(ctx context.Context, service string, l *listener) error {
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.listeners, service)
		s.nudge()
	}()
	var of string // what last is the mark of
	var last mark
	for {
		query, cancel := context.WithCancel(ctx)
		only, since := s.listenTo(service, l, cancel)
		if since == 0 {
			cancel()
			return nil
		}
		if last.index == 0 || only != of {
			of, last = only, mark{since, true}
		}
		now, err := s.await(query, service, only, last)
		interrupted := query.Err() != nil
		cancel()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case interrupted:
			last = mark{}
			continue
		case err != nil:
			return err
		case now != last:
			last = now
			s.lookAt(service, l, now)
		}
		if err := pause(ctx, listenPause); err != nil {
			return err
		}
	}
}

// listenTo returns the key that is to be asked for, "" for all of service, and the index
// of what was written there first: whatever has happened since is news. It is 0 if the
// session holds none.
func (s *session) listenTo(service string, l *listener, interrupt context.CancelFunc) (only string, since uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, index := range s.held[service] {
		if only = key; since == 0 || index < since {
			since = index
		}
	}
	if len(s.held[service]) > 1 {
		only = ""
	}
	l.only, l.interrupt = only, interrupt
	l.seen = max(l.seen, since) // what is noted later, and is older, is to be looked at
	return only, since
}

// lookAtAll has Guard look at all that the session holds.
func (s *session) lookAtAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, keys := range s.held {
		for key := range keys {
			s.look[key] = true
		}
	}
	s.nudge()
}

// lookAt has Guard look at the keys of service, as of now: at all but those that were
// written last, if that was by us. Where there is no key, the index is that of a deletion,
// which may be our own, of what was taken over.
func (s *session) lookAt(service string, l *listener, now mark) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.seen = now.index
	for key, ours := range s.held[service] {
		if ours != now.index || !now.there {
			s.look[key] = true
		}
	}
	s.nudge()
}

const (
	// listenPause is the least time between two queries of a listener: others may
	// write often, and each answer costs the server as many steps as there are keys.
	listenPause = 50 * time.Millisecond

	// listenWait is short, since it is only then that a listener to a service finds
	// that all has gone at once: see mark.
	listenWait = 10 * time.Second
)

// await returns the mark of a key, or else of service, once it has moved, or after a
// while.
func (s *session) await(ctx context.Context, service, key string, last mark) (mark, error) {
	if key == "" {
		return s.b.mark(ctx, service, last, listenWait)
	}
	q, done := waiting(ctx, last, maxWait)
	defer done()
	p, meta, err := ask(s.b, func() (*api.KVPair, *api.QueryMeta, error) {
		return s.b.client.KV().Get(key, q)
	})
	if err != nil {
		return mark{}, err
	}
	return mark{meta.LastIndex, p != nil}, nil
}

// inspect reports those keys as lost that are not as the session wrote them:
// absent, or changed in any way.
func (s *session) inspect(ctx context.Context, lost func(service, id string)) error {
	for {
		s.mu.Lock()
		var ops []*api.KVTxnOp
		for key := range s.look {
			if len(ops) == batch.Records {
				break
			}
			delete(s.look, key)
			service, _ := s.b.split(key)
			if index := s.held[service][key]; index > 0 {
				ops = append(ops, &api.KVTxnOp{Verb: api.KVCheckIndex, Key: key, Index: index})
			}
		}
		s.mu.Unlock()
		if len(ops) == 0 {
			return nil
		}
		query, done := context.WithTimeout(ctx, maxDelay)
		_, refused, err := s.b.transact(query, ops)
		if err == nil && len(refused) > 0 {
			err = s.Renew(query) // a session that is over has lost them all
		}
		done()
		if err != nil {
			return err
		}
		for i, why := range refused {
			if errors.Is(why, registry.ErrDenied) {
				return why
			}
			service, id := s.b.split(ops[i].Key)
			if s.forget(service, ops[i].Key, ops[i].Index) > 0 { // else it was written since
				lost(service, id)
			}
		}
	}
}
