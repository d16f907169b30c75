package consulreg

import (
	"context"
	"net"
	"net/http"
	"sync"

	"github.com/go-rollcall/registry"
)

// dials are connections that are being made. net/http goes on making one when the
// request for which it was begun has ended, for as long as the dial function takes.
type dials struct {
	dial   func(ctx context.Context, network, addr string) (net.Conn, error)
	ctx    context.Context // ends at close
	cancel context.CancelFunc

	mu   sync.Mutex
	work sync.WaitGroup
}

// newDials makes t dial through dials.
func newDials(t *http.Transport) *dials {
	d := &dials{dial: t.DialContext}
	//lint:ignore SA1019 a user's transport may have it
	older := t.Dial
	switch {
	case d.dial == nil && older != nil:
		d.dial = func(_ context.Context, network, addr string) (net.Conn, error) { return older(network, addr) }
	case d.dial == nil:
		d.dial = new(net.Dialer).DialContext
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	t.DialContext = d.make
	return d
}

// make is for the transport.
func (d *dials) make(ctx context.Context, network, addr string) (net.Conn, error) {
	d.mu.Lock()
	if d.ctx.Err() != nil {
		d.mu.Unlock()
		return nil, registry.ErrClosed
	}
	d.work.Add(1)
	d.mu.Unlock()
	defer d.work.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.ctx, cancel)()
	return d.dial(ctx, network, addr)
}

// close ends them, and returns when they have ended.
func (d *dials) close() {
	d.mu.Lock()
	d.cancel()
	d.mu.Unlock()
	d.work.Wait()
}
