// Package netreg dials services by name: for anything that speaks over TCP.
//
//	d := netreg.NewDialer(reg, nil)
//	defer d.Close()
//	…
//	conn, err := d.DialContext(ctx, "tcp", "go_servers")
package netreg

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/balance"
	"github.com/go-rollcall/registry/internal/picks"
)

const defaultTryTimeout = time.Second

// A Dialer connects to instances of services. Its methods are safe for concurrent
// use.
type Dialer struct {
	set  *picks.Set
	opts Options
}

// Options configure a Dialer. The zero value and nil work.
type Options struct {
	// Policy makes the policy of each service, a new one for each call:
	// [balance.RoundRobin] if nil. Only dials
	// are seen here, so that one that measures, such as P2C, favours whoever accepts
	// fastest, whatever its connections do; and there is no key, so that
	// [balance.Hash] has all of them go to one instance.
	Policy func() balance.Policy

	// Balance configures the balancer of each service.
	Balance *balance.Options

	// Cache is a directory for the last confirmed set of each service, with which the
	// Dialer begins while the registry is away: see [registry.FollowOptions]. None if
	// empty.
	Cache string

	// TryTimeout bounds a try while there are other instances left to try: 1 s if 0
	// or less, and no more than half of the time that remains to the context. The last
	// one left has all of it.
	TryTimeout time.Duration

	// Dial connects to an address. That of net.Dialer if nil.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// NewDialer returns a Dialer for the services in reg, which it does not close. The
// caller closes the Dialer.
func NewDialer(reg registry.Registry, opts *Options) *Dialer {
	d := &Dialer{}
	if opts != nil {
		d.opts = *opts
	}
	if d.opts.Policy == nil {
		d.opts.Policy = balance.RoundRobin
	}
	d.opts.TryTimeout = cmp.Or(max(d.opts.TryTimeout, 0), defaultTryTimeout)
	if d.opts.Dial == nil {
		d.opts.Dial = new(net.Dialer).DialContext
	}
	d.set = picks.New(reg, picks.Options{Policy: d.opts.Policy, Balance: d.opts.Balance, Cache: d.opts.Cache})
	return d
}

// DialContext connects to an instance of the service that addr names: "go_servers" or
// "go_servers:0". Any other port, and any IP address, makes addr an ordinary address,
// which is dialled as it is. Its form is that of [net.Dialer.DialContext], so that
// it goes where a client library takes a dial function.
//
// An instance that cannot be reached is reported to the balancer, and another is tried,
// each at most once, until ctx ends. A try that the end of ctx has cut short before
// TryTimeout is not reported. What happens to a connection later is not seen: it is returned as it was made.
// The error says for each instance why it could not be reached. Before anything is known of
// the service, DialContext waits for the registry, within ctx; an outage after that changes
// nothing.
func (d *Dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	name, ok := picks.Name(addr)
	if !ok {
		return d.opts.Dial(ctx, network, addr)
	}
	fail := func(err error) (net.Conn, error) {
		return nil, fmt.Errorf("netreg: dial %s %q: %w", network, addr, err)
	}
	if !strings.HasPrefix(network, "tcp") {
		return fail(fmt.Errorf("%w network: services are dialled over tcp", registry.ErrInvalid))
	}
	svc, err := d.set.Get(name)
	if err != nil {
		return fail(err)
	}
	req := svc.Request(ctx, "", d.opts.TryTimeout)
	var failed []error
	for {
		t, err := req.Next()
		if errors.Is(err, balance.ErrNone) && len(failed) > 0 {
			return fail(errors.Join(failed...))
		}
		if err != nil {
			return fail(errors.Join(append(failed, err)...))
		}
		within, cancel := t.Context()
		conn, err := d.opts.Dial(within, network, t.Instance().Addr)
		t.End(within, err)
		cancel()
		if err == nil {
			return conn, nil
		}
		failed = append(failed, fmt.Errorf("%s: %w", t.Instance().Addr, err))
		if ctx.Err() != nil {
			return fail(fmt.Errorf("%w; instances tried: %w", context.Cause(ctx), errors.Join(failed...)))
		}
	}
}

// Close ends the views of the services, and returns when the last goroutine has ended.
// Connections stay open; dialling a service then fails with [registry.ErrClosed].
func (d *Dialer) Close() error {
	d.set.Close()
	return nil
}
