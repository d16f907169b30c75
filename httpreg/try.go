package httpreg

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/go-rollcall/registry/internal/picks"
)

// An outcome is what became of a try without a response.
type outcome int

const (
	unsent   outcome = iota // there was no connection to send it on
	sent                    // there was one: the server may have seen the request
	hopeless                // the request itself is to blame, and no instance
)

// try sends req to the picked instance. There is a limit of time for a connection, and
// none for the answer.
func (s *service) try(req *http.Request, t *picks.Try, b *body) (*http.Response, outcome, error) {
	var asked, dialled, got atomic.Bool
	ctx, cancel := context.WithCancelCause(req.Context())
	start, stop := func() {}, func() {}
	if t.Limit > 0 {
		timer := time.AfterFunc(t.Limit, func() { cancel(t.Late()) })
		start, stop = func() { timer.Reset(t.Limit) }, func() { timer.Stop() }
	}
	dialling := context.WithValue(ctx, begins{}, func() { dialled.Store(true) })
	out := req.Clone(httptrace.WithClientTrace(dialling, &httptrace.ClientTrace{
		GetConn: func(string) {
			// Once more if the connection turns out to be dead: net/http looks for
			// another one only where it is safe to send the request again.
			got.Store(false)
			asked.Store(true)
			start()
		},
		GotConn: func(httptrace.GotConnInfo) { stop(); got.Store(true) },
	}))
	b.attach(out)
	out.Host = cmp.Or(req.Host, req.URL.Host)
	out.URL.Host = t.Instance().Addr
	h := s.host(t.Instance().Addr)
	over := func() {
		cancel(nil)
		stop()
		if h.gone.Load() {
			h.CloseIdleConnections()
		}
	}
	resp, err := h.RoundTrip(out)
	if err != nil {
		end := unsent
		switch {
		case !asked.Load() || b.spoilt():
			end = hopeless
			t.Drop()
		case got.Load() && errors.Is(req.Context().Err(), context.Canceled):
			end = sent
			t.Drop() // it may have been at work, for a caller who has no use for it any more
		case got.Load():
			end = sent
			t.End(ctx, err)
		case h.MaxConnsPerHost > 0 && ctx.Err() != nil && !dialled.Load():
			t.Drop() // all the connections that it may have were in use
		default:
			t.End(ctx, err)
		}
		over()
		return nil, end, err
	}
	var failed error
	if s.failed != nil {
		failed = s.failed(resp)
	}
	if failed == nil {
		t.Answered()
	}
	resp.Request = req
	resp.Body = answered(resp.Body, func(err error) {
		switch {
		case failed != nil:
			t.Done(failed)
		case err != nil && req.Context().Err() != nil:
			t.Drop() // it has answered, and the caller has not read it all
		default:
			t.Done(err)
		}
		over()
	})
	return resp, sent, nil
}
