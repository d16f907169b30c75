package picks

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/go-rollcall/registry/balance"
)

// enough is the share of the time for a try that an instance needs to have had, before
// it is to blame that it gave nothing: a caller in a hurry proves little.
const enough = 4

// A Request goes to the instances of a service, one after another, each at most once.
type Request struct {
	ctx     context.Context // the caller's
	svc     *Service
	timeout time.Duration
	req     balance.Request
}

// Request begins one. timeout is for one try, while there are other instances left.
func (s *Service) Request(ctx context.Context, key string, timeout time.Duration) *Request {
	return &Request{ctx: ctx, svc: s, timeout: timeout, req: balance.Request{Key: key}}
}

// Next picks an instance that was not tried. The error wraps [balance.ErrNone] if there
// is none.
func (r *Request) Next() (*Try, error) {
	p, err := r.svc.PickFor(r.ctx, r.req)
	if err != nil {
		return nil, err
	}
	t := &Try{Picked: p, r: r, began: time.Now()}
	id := p.Instance().ID
	if !last(r.svc.View, id, r.req.Tried) {
		t.Limit = r.timeout
		if end, ok := r.ctx.Deadline(); ok {
			t.Limit = max(min(t.Limit, time.Until(end)/2), 1)
		}
	}
	r.req.Tried = append(r.req.Tried, id)
	return t, nil
}

// A Try is an instance's turn.
type Try struct {
	balance.Picked

	// Limit is how long the instance has: the time for a try, and no more than half
	// of what remains to the request, so that there is some for another instance. It
	// is 0 for the last one left, which has all that remains.
	Limit time.Duration

	r     *Request
	began time.Time
}

// Context bounds the try. Its cause says so.
func (t *Try) Context() (context.Context, context.CancelFunc) {
	if t.Limit == 0 {
		return t.r.ctx, func() {}
	}
	return context.WithTimeoutCause(t.r.ctx, t.Limit, t.Late())
}

// Late is why a try was given up at its limit.
func (t *Try) Late() error {
	return fmt.Errorf("no answer within %v: %w", t.Limit, context.DeadlineExceeded)
}

// End tells the balancer how the try, which was made within ctx, has ended: nil if the
// instance did its part. One that was given up is a failure if the instance had the time
// for a try and gave nothing in it, or what there was of that, if it was not too little.
// One that the caller cut short before says nothing.
func (t *Try) End(ctx context.Context, err error) {
	caller := over(t.r.ctx)
	switch {
	case err == nil:
		t.Done(nil)
	case caller && time.Since(t.began) < t.r.timeout:
		t.Drop()
	case !caller && over(ctx) && t.Limit < t.r.timeout/enough:
		t.Drop()
	default:
		t.Done(err)
	}
}

// over reports whether ctx has ended. A dialer has a timer of its own for its deadline, which
// may fire before that of ctx does.
func over(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}

// last reports whether the instance id is the only one of view's that a request which has
// tried others can go to.
func last(view balance.View, id string, tried []string) bool {
	all := view.Snapshot().Instances
	if len(all) > len(tried)+1 {
		return false // nearly always, and there may be thousands
	}
	for _, in := range all {
		if in.ID != id && !slices.Contains(tried, in.ID) {
			return false
		}
	}
	return true
}
