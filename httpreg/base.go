package httpreg

import (
	"context"
	"net"
	"net/http"
	"time"
)

// maxIdle is how many connections to an instance are kept, where the user has no say:
// net/http's own 2 are for the many hosts of a browser.
const maxIdle = 100

// base returns what the connections to all instances are made with. It is changed in what
// it dials with only, and speaks what the user's own would have spoken.
func base(users *http.Transport, dialTimeout time.Duration) *http.Transport {
	var b *http.Transport
	switch d, ok := http.DefaultTransport.(*http.Transport); {
	case users != nil:
		// Where net/http sees a dial function or a configuration of TLS, it takes them to
		// be of somebody who has not thought of HTTP/2. Ours are not. That the user's own
		// speaks it is known once it was cloned.
		b = users.Clone()
		if users.TLSNextProto["h2"] != nil {
			b.ForceAttemptHTTP2 = true
		}
	case ok:
		b = d.Clone()
		b.Proxy = nil
		b.MaxIdleConnsPerHost = maxIdle
	default:
		b = &http.Transport{ForceAttemptHTTP2: true, IdleConnTimeout: 90 * time.Second, MaxIdleConnsPerHost: maxIdle}
	}
	//lint:ignore SA1019 a user's Base may have it
	older := b.Dial
	b.DialContext = within(dialTimeout, b.DialContext, older)
	//lint:ignore SA1019 a user's Base may have it
	if older := b.DialTLS; older != nil || b.DialTLSContext != nil {
		b.DialTLSContext = within(dialTimeout, b.DialTLSContext, older)
	}
	return b
}

type dialer = func(ctx context.Context, network, addr string) (net.Conn, error)

// begins is what a request's ctx has for dial to call when it begins to dial for it.
type begins struct{}

// within bounds the dialling by dial, or else by the older form of it, which cannot be.
func within(limit time.Duration, dial dialer, older func(network, addr string) (net.Conn, error)) dialer {
	switch {
	case dial == nil && older != nil:
		dial = func(_ context.Context, network, addr string) (net.Conn, error) { return older(network, addr) }
	case dial == nil:
		dial = new(net.Dialer).DialContext
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if f, ok := ctx.Value(begins{}).(func()); ok {
			f()
		}
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		return dial(ctx, network, addr)
	}
}
