package consulreg

import (
	"context"
	"net"
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

func newDials(dial func(context.Context, string, string) (net.Conn, error)) *dials {
	d := &dials{dial: dial}
	if d.dial == nil {
		d.dial = new(net.Dialer).DialContext
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	return d
}

// DialContext is for the transport.
func (d *dials) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
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
