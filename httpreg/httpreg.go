// Package httpreg sends HTTP requests to services by name.
//
//	t := httpreg.NewTransport(reg, nil)
//	defer t.Close()
//	client := &http.Client{Transport: t}
//	…
//	resp, err := client.Get("http://go_servers/path")
package httpreg

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/balance"
	"github.com/go-rollcall/registry/internal/picks"
)

const (
	defaultDialTimeout = 2 * time.Second

	// maxSent is how often a request is sent at most: one that kills whoever gets it
	// is not to go round.
	maxSent = 3
)

// A Transport is an [http.RoundTripper]: each request to a host that is the name of a
// service goes to one of its instances. A name has no port: with one, or as an IP
// address, the host is an ordinary one, and goes where it says.
//
// The request that arrives is the one that was sent: its Host is the service's name,
// unless the request has another. With https, servers prove that they are the service:
// the name in the certificate is that of the URL, unless Base.TLSClientConfig has
// a ServerName.
//
// Connections are kept alive for each instance, and closed when it goes; those that
// are in use then, after it.
//
// Each name that a request goes to is followed until Close, also that in a redirect to
// a host without a port: where servers redirect to ordinary ones, CheckRedirect is the
// place to stop that.
type Transport struct {
	set  *picks.Set
	opts Options
	base *http.Transport

	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu     sync.Mutex
	closed bool
	byName map[string]*service
}

// Options configure a Transport. The zero value and nil work.
type Options struct {
	// Policy makes the policy of each service, a new one for each call: [balance.P2C]
	// if nil.
	Policy func() balance.Policy

	// Balance configures the balancer of each service.
	Balance *balance.Options

	// Cache is a directory for the last confirmed set of each service, with which the
	// Transport begins while the registry is away: see [registry.FollowOptions]. None if
	// empty.
	Cache string

	// Key returns what [balance.Hash] goes by, and is called from several goroutines. It
	// is "" for all requests if nil.
	Key func(*http.Request) string

	// DialTimeout bounds the dialling of an instance: 2 s if 0 or less, and, where there
	// are other instances left to try, no more than half of the time that remains to
	// the request's context. An instance that has been silent for longer than this
	// when the context's deadline passes has failed; one that has a request which is
	// then cancelled may be at work on it, and has not. So a proxy, whose requests are
	// cancelled, gives them a deadline.
	DialTimeout time.Duration

	// Failed tells the balancer what to think of a response: nil if the instance did
	// its part, else why it did not, say for a 503. The caller gets the response either
	// way. It may be called from several goroutines, and leaves the body alone. If nil, any
	// response is an answer; to a policy that measures, an instance that fails at
	// once then is a fast one.
	Failed func(*http.Response) error

	// Base is what connections to each instance are made with: a copy of it for each.
	// That of net/http if nil, but without a proxy, and with up to 100 idle connections
	// to each instance.
	Base *http.Transport
}

// NewTransport returns a Transport for the services in reg, which it does not close.
// The caller closes the Transport.
func NewTransport(reg registry.Registry, opts *Options) *Transport {
	t := &Transport{byName: map[string]*service{}}
	if opts != nil {
		t.opts = *opts
	}
	t.opts.DialTimeout = cmp.Or(max(t.opts.DialTimeout, 0), defaultDialTimeout)
	t.base = base(t.opts.Base, t.opts.DialTimeout)
	t.set = picks.New(reg, picks.Options{Policy: t.opts.Policy, Balance: t.opts.Balance, Cache: t.opts.Cache})
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t
}

// RoundTrip sends req to an instance. If it fails, another is tried, each at most once,
// where that cannot do harm: no connection to the instance was made; or the method is
// GET, HEAD, OPTIONS, TRACE, PUT or DELETE, or the header has an Idempotency-Key or
// X-Idempotency-Key, as in net/http, and the body can be had again (GetBody, or none).
// What was sent is sent three times at most. Nothing is tried again once the request's
// context has ended. Any response is returned, whatever its status. A request that
// net/http refuses to send, or whose body cannot be read, has failed by itself: that is no
// instance's fault.
//
// Before anything is known of the service, RoundTrip waits for the registry, within the
// request's context; an outage after that changes nothing.
//
// For the balancer a request lasts until its response's body is read or closed; its
// latency is the time until the response has begun.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	name, ok := picks.Name(req.URL.Host)
	if !ok {
		return t.base.RoundTrip(req)
	}
	b := &body{req: req}
	resp, err := t.send(req, name, b)
	if err != nil {
		return nil, fmt.Errorf("httpreg: service %q: %w", name, errors.Join(err, b.finish()))
	}
	_ = b.finish() // an answer counts, even to a request that was not read
	return resp, nil
}

func (t *Transport) send(req *http.Request, name string, b *body) (*http.Response, error) {
	s, err := t.service(name)
	if err != nil {
		return nil, err
	}
	var key string
	if t.opts.Key != nil {
		key = t.opts.Key(req)
	}
	pr := s.Request(req.Context(), key, t.opts.DialTimeout)
	var failed error
	for times := 0; ; {
		p, err := pr.Next()
		if errors.Is(err, balance.ErrNone) && failed != nil {
			return nil, failed
		}
		if err != nil {
			return nil, errors.Join(failed, err)
		}
		resp, end, err := s.try(req, p, b)
		if err == nil {
			return resp, nil
		}
		if end == sent {
			times++
		}
		failed = errors.Join(failed, fmt.Errorf("%s: %w", p.Instance().Addr, err))
		if why := context.Cause(req.Context()); why != nil && !errors.Is(failed, why) {
			failed = errors.Join(failed, why) // the connection may have ended at the same time
		}
		if end == hopeless || req.Context().Err() != nil || times >= maxSent || end == sent && !repeatable(req) || !b.again() {
			return nil, failed
		}
	}
}

// repeatable reports whether a server that gets req twice does what it does for one.
func repeatable(req *http.Request) bool {
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return req.Header["Idempotency-Key"] != nil || req.Header["X-Idempotency-Key"] != nil
}

// CloseIdleConnections closes those of all instances that are not in use.
func (t *Transport) CloseIdleConnections() {
	t.base.CloseIdleConnections()
	t.mu.Lock()
	all := make([]*service, 0, len(t.byName))
	for _, s := range t.byName {
		all = append(all, s)
	}
	t.mu.Unlock()
	for _, s := range all {
		s.mu.Lock()
		var hosts []*host
		for _, h := range s.there {
			if h != nil { // it has had a request
				hosts = append(hosts, h)
			}
		}
		s.mu.Unlock()
		for _, h := range hosts {
			h.CloseIdleConnections()
		}
	}
}

// Close ends the views of the services, closes connections that are not in use, and
// returns when the last goroutine of the Transport has ended. Requests under way go on;
// their connections are closed after them. Later ones fail with [registry.ErrClosed].
func (t *Transport) Close() error {
	t.mu.Lock()
	t.closed = true // no service comes from here on
	all := t.byName
	t.byName = nil
	t.mu.Unlock()
	t.cancel()
	t.set.Close()
	t.work.Wait()
	for _, s := range all {
		s.leave()
	}
	t.base.CloseIdleConnections()
	return nil
}
