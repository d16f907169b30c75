package httpreg

import (
	"cmp"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/internal/picks"
)

// A service is its picks, and a transport for each address.
type service struct {
	*picks.Service
	name   string
	base   *http.Transport
	failed func(*http.Response) error // Options.Failed

	mu    sync.Mutex
	there map[string]*host // of the newest set that was seen
	left  bool             // no connection is kept any more
}

// A host has the connections of one address.
type host struct {
	*http.Transport
	gone atomic.Bool
}

func (t *Transport) service(name string) (*service, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, registry.ErrClosed
	}
	if s := t.byName[name]; s != nil {
		return s, nil
	}
	p, err := t.set.Get(name)
	if err != nil {
		return nil, err
	}
	s := &service{Service: p, name: name, base: t.base, failed: t.opts.Failed, there: map[string]*host{}}
	t.byName[name] = s
	s.follow()
	t.work.Go(func() {
		for {
			changed := s.View.Changed()
			s.follow()
			select {
			case <-changed:
			case <-t.ctx.Done():
				return
			}
		}
	})
	return s, nil
}

// follow gives up the connections of those that went.
func (s *service) follow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep(s.View.Snapshot().Instances)
}

// leave gives up all connections, and has none kept that are made later.
func (s *service) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = true
	s.keep(nil)
}

// keep gives up the connections to all but those in list. s.mu is held.
func (s *service) keep(list []registry.Instance) {
	now := make(map[string]*host, len(list))
	for _, in := range list {
		now[in.Addr] = s.there[in.Addr]
	}
	for addr, h := range s.there {
		if _, stays := now[addr]; h != nil && !stays {
			h.gone.Store(true)
			h.CloseIdleConnections()
		}
	}
	s.there = now
}

// host returns the connections to addr. Those to one that has gone are not kept.
func (s *service) host(addr string) *host {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, known := s.there[addr]
	if h != nil {
		return h
	}
	if !known && !s.left { // it may have come just now
		known = slices.ContainsFunc(s.View.Snapshot().Instances, func(in registry.Instance) bool { return in.Addr == addr })
	}
	h = &host{Transport: s.base.Clone()}
	if h.TLSClientConfig != nil {
		h.TLSClientConfig.ServerName = cmp.Or(h.TLSClientConfig.ServerName, s.name)
	} else {
		h.TLSClientConfig = newTLS(s.name)
	}
	if known {
		s.there[addr] = h
	} else {
		h.gone.Store(true)
	}
	return h
}
