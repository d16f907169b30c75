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
	reg    registry.Registry
	policy func() balance.Policy
	opts   *balance.Options

	mu     sync.Mutex
	closed bool
	byName map[string]*Service
}

// A Service is the picks of one.
type Service struct {
	*balance.Balancer
	View *registry.View
}

// New returns an empty Set. policy is called for each service; nil is the default
// of package balance.
func New(reg registry.Registry, policy func() balance.Policy, opts *balance.Options) *Set {
	return &Set{reg: reg, policy: policy, opts: opts, byName: map[string]*Service{}}
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
	fo := &registry.FollowOptions{}
	if s.opts != nil {
		fo.Logger = s.opts.Logger
	}
	view, err := registry.Follow(context.Background(), s.reg, name, fo)
	if err != nil {
		return nil, err
	}
	var policy balance.Policy
	if s.policy != nil {
		policy = s.policy()
	}
	svc := &Service{balance.New(view, policy, s.opts), view}
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
