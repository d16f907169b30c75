// Package grpcreg resolves gRPC targets by a registry: registry:///go_servers.
//
//	conn, err := grpc.NewClient("registry:///go_servers",
//		grpc.WithResolvers(grpcreg.Builder(reg, nil)),
//		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`), …)
//
// Which instance a call goes to, and what is tried again, is for gRPC's own balancers
// and its service config; without the latter it keeps to one instance. With TLS,
// servers prove that they are the service: the name in the certificate is that
// of the target, unless grpc.WithAuthority says otherwise.
package grpcreg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/resolver"

	"github.com/go-rollcall/registry"
)

// Scheme is that of the targets.
const Scheme = "registry"

// firstWait is how long calls wait for the registry before they fail with what it is
// that keeps it away, unless they wait for ready. The view goes on waiting.
const firstWait = 2 * time.Second

var errAway = errors.New("the registry has not answered yet")

// Options configure a Builder. The zero value and nil work.
type Options struct {
	// Cache is a directory for the last confirmed set of each service, with which a
	// connection begins while the registry is away: see [registry.FollowOptions]. None
	// if empty. It is not waited for at the end of the program, so that the time in
	// it may be 10 minutes old.
	Cache string

	// Logger receives what a view has to say of the registry and the cache: see
	// [registry.FollowOptions]. slog.Default if nil.
	Logger *slog.Logger
}

// Builder returns what makes a connection find its servers in reg; for
// [google.golang.org/grpc.WithResolvers]. The caller closes reg, after the connections.
//
// A connection follows its service by a watch. That lasts until reg is closed, and all
// connections of the Builder share it: so one that was idle for long, whose resolver gRPC
// closes after 30 minutes ([google.golang.org/grpc.WithIdleTimeout]) and builds anew, has the
// addresses at once. In an outage of the registry it keeps those that it has, and it never
// takes an error for an empty service. Before the first set is known, calls fail with why
// there is none, after 2 s.
//
// Each endpoint has the instance's metadata among its attributes: see [Meta].
func Builder(reg registry.Registry, opts *Options) resolver.Builder {
	b := &builder{reg: reg, views: map[string]*registry.View{}}
	if opts != nil {
		b.opts = *opts
	}
	return b
}

type builder struct {
	reg  registry.Registry
	opts Options

	mu    sync.Mutex
	views map[string]*registry.View // by service; each ends with reg
}

func (*builder) Scheme() string { return Scheme }

// Build hands over what is followed of the service, which is the target's path; it has no
// authority.
func (b *builder) Build(target resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	if target.URL.Host != "" {
		return nil, fmt.Errorf("grpcreg: %w target %q: want %s:///service, with three slashes", registry.ErrInvalid, target.URL.String(), Scheme)
	}
	view, err := b.view(target.Endpoint())
	if err != nil {
		return nil, fmt.Errorf("grpcreg: target %q: %w", target.URL.String(), err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &follower{view: view, cc: cc, cancel: cancel, ended: make(chan struct{})}
	go r.run(ctx)
	return r, nil
}

// view returns that of the service.
func (b *builder) view(service string) (*registry.View, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if v := b.views[service]; v != nil {
		return v, nil
	}
	v, err := registry.Follow(context.Background(), b.reg, service, &registry.FollowOptions{Cache: b.opts.Cache, Logger: b.opts.Logger})
	if err != nil {
		return nil, err
	}
	b.views[service] = v
	return v, nil
}

// A follower hands the instances of a service to a connection.
type follower struct {
	view   *registry.View
	cc     resolver.ClientConn
	cancel context.CancelFunc
	ended  chan struct{}
}

// ResolveNow does nothing: a watch has the news already.
func (*follower) ResolveNow(resolver.ResolveNowOptions) {}

// Close returns when the follower's goroutine has ended. The view stays.
func (r *follower) Close() {
	r.cancel()
	<-r.ended
}

func (r *follower) run(ctx context.Context) {
	defer close(r.ended)
	if !r.first(ctx) {
		return
	}
	var shown []registry.Instance // what was handed over last
	for {
		changed := r.view.Changed()
		snap := r.view.Snapshot()
		switch {
		case ctx.Err() != nil:
			return
		case snap.Err == nil || len(snap.Instances) > 0 && !same(snap.Instances, shown):
			// An error says that the balancer does not like the set: an empty
			// one, that is. The next one comes with a change.
			_ = r.cc.UpdateState(state(snap.Instances))
			shown = snap.Instances
		case len(snap.Instances) == 0:
			r.cc.ReportError(snap.Err)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// same reports whether two sets are one, which is never changed.
func same(a, b []registry.Instance) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// first waits for the first set, and says why there is none meanwhile. It returns
// false if none will come.
func (r *follower) first(ctx context.Context) bool {
	for {
		changed := r.view.Changed()
		wait, cancel := context.WithTimeoutCause(ctx, firstWait, errAway)
		err := r.view.Wait(wait)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err == nil
		}
		r.cc.ReportError(err)
		switch {
		case errors.Is(err, registry.ErrClosed):
			return false
		case errors.Is(err, errAway):
			continue
		}
		select { // refused: the view tries again
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// state makes one endpoint of each instance. The metadata is not an attribute of
// its address: a change of it would break the connection.
func state(list []registry.Instance) resolver.State {
	var s resolver.State
	for _, in := range list {
		addr := resolver.Address{Addr: in.Addr}
		a := attributes.New(metaKey{}, meta(in.Meta))
		s.Endpoints = append(s.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{addr}, Attributes: a})
		s.Addresses = append(s.Addresses, addr)
	}
	return s
}

type metaKey struct{}

// meta can be compared by package attributes.
type meta map[string]string

func (m meta) Equal(o any) bool {
	other, ok := o.(meta)
	return ok && maps.Equal(m, other)
}

// Meta returns the metadata of the instance behind an endpoint, for balancers that are
// given endpoints; those made with gRPC's package balancer/base see addresses only, which
// have none. The map must not be modified. The weight that some of gRPC's balancers go by is
// not among what a resolver outside of gRPC can set: weighted_round_robin takes it from the
// servers' load reports.
func Meta(e resolver.Endpoint) map[string]string {
	m, _ := e.Attributes.Value(metaKey{}).(meta)
	return m
}
