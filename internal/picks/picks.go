// Package picks has a view and a balancer for each service that is asked for.
package picks

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/balance"
)

// A Set makes them when a service is first asked for, and keeps them until Close.
type Set struct {
	reg  registry.Registry
	opts Options

	mu     sync.Mutex
	closed bool
	byName map[string]*Service
}

// A Service is the picks of one.
type Service struct {
	*balance.Balancer
	View *registry.View
}

// Options are those that netreg and httpreg have in common.
type Options struct {
	Policy  func() balance.Policy // called for each service; the default of package balance if nil
	Balance *balance.Options
	Cache   string // of the views
}

// New returns an empty Set.
func New(reg registry.Registry, opts Options) *Set {
	return &Set{reg: reg, opts: opts, byName: map[string]*Service{}}
}

// Get returns the picks of the service. It waits for nothing.
func (s *Set) Get(name string) (*Service, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("service %q: %w", name, registry.ErrClosed)
	}
	if svc := s.byName[name]; svc != nil {
		return svc, nil
	}
	fo := &registry.FollowOptions{Cache: s.opts.Cache}
	if s.opts.Balance != nil {
		fo.Logger = s.opts.Balance.Logger
	}
	view, err := registry.Follow(context.Background(), s.reg, name, fo)
	if err != nil {
		return nil, err
	}
	var policy balance.Policy
	if s.opts.Policy != nil {
		policy = s.opts.Policy()
	}
	svc := &Service{balance.New(view, policy, s.opts.Balance), view}
	s.byName[name] = svc
	return svc, nil
}

// Close ends all views and balancers, and returns when their goroutines have ended.
func (s *Set) Close() {
	s.mu.Lock()
	s.closed = true
	all := s.byName
	s.byName = nil
	s.mu.Unlock()
	for _, svc := range all {
		svc.Balancer.Close()
		svc.View.Close()
	}
}

// Name returns the service that stands where a host and a port do: a name without a
// port, or with port 0. Anything else is an ordinary address.
func Name(hostport string) (service string, ok bool) {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		host, port = hostport, ""
	}
	if _, err := netip.ParseAddr(host); err == nil || host == "" || host[0] == '[' {
		return "", false
	}
	return host, port == "" || port == "0"
}
