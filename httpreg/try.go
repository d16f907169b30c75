package httpreg

import (
	"cmp"
	"context"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/go-rollcall/registry/internal/picks"
)

// try sends req to the picked instance, and reports whether it had a connection: for
// that there is a time, and none for the answer.
func (s *service) try(req *http.Request, t *picks.Try, b *body) (*http.Response, bool, error) {
	var got atomic.Bool
	ctx, cancel := context.WithCancelCause(req.Context())
	late := func() {}
	if t.Limit > 0 {
		timer := time.AfterFunc(t.Limit, func() { cancel(t.Late()) })
		late = func() { timer.Stop() }
	}
	out := req.Clone(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { late(); got.Store(true) },
	}))
	out.Body = b.reader()
	out.Host = cmp.Or(req.Host, req.URL.Host)
	out.URL.Host = t.Instance().Addr
	h := s.host(t.Instance().Addr)
	over := func() {
		cancel(nil)
		late()
		if h.gone.Load() {
			h.CloseIdleConnections()
		}
	}
	resp, err := h.RoundTrip(out)
	if err != nil {
		t.End(ctx, err)
		over()
		return nil, got.Load(), err
	}
	resp.Request = req
	resp.Body = answered(resp.Body, func(err error) {
		if err != nil && req.Context().Err() != nil {
			t.Drop() // it has answered, and the caller has not read it all
		} else {
			t.Done(err)
		}
		over()
	})
	return resp, true, nil
}
