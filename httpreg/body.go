package httpreg

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
)

func newTLS(serverName string) *tls.Config { return &tls.Config{ServerName: serverName} }

// A body is that of a request, for as many tries as there are. One that cannot be had
// again serves another try as long as nobody has read of it.
type body struct {
	req *http.Request

	mu    sync.Mutex
	tries int
	next  io.ReadCloser // for the next try; from GetBody
	err   error         // of GetBody
	used  bool          // somebody has read of it
	asked bool          // to be closed
	final bool          // there will be no other try
	bad   bool          // it could not be read, or is not as long as the request says
}

func (b *body) none() bool { return b.req.Body == nil || b.req.Body == http.NoBody }

// attach gives out the body of the next try.
func (b *body) attach(out *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tries++
	b.asked = false
	switch {
	case b.none():
		out.Body = b.req.Body
		return
	case b.next != nil:
		out.Body, b.next = &reading{b: b, ReadCloser: b.next}, nil
	default:
		out.Body = &reading{b: b, ReadCloser: b.req.Body, first: true}
	}
	if again := b.req.GetBody; again != nil { // for net/http's own tries
		out.GetBody = func() (io.ReadCloser, error) {
			r, err := again()
			if err != nil {
				return nil, err
			}
			return &reading{b: b, ReadCloser: r}, nil
		}
	}
}

// again reports whether there is a body for another try.
func (b *body) again() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.none() || !b.used {
		return true
	}
	if b.req.GetBody == nil {
		return false
	}
	b.next, b.err = b.req.GetBody()
	return b.err == nil
}

// spoilt reports whether a request cannot succeed with this body, wherever it goes.
func (b *body) spoilt() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bad
}

// finish closes what no try will, and returns why there was no body for another.
func (b *body) finish() error {
	b.mu.Lock()
	b.final = true
	left := !b.none() && !b.used && (b.asked || b.tries == 0)
	next := b.next
	b.mu.Unlock()
	if left {
		b.req.Body.Close()
	}
	if next != nil {
		next.Close()
	}
	return b.err
}

// reading is a body as net/http sees it: the request's own if it is the first, which
// stays open until somebody has read of it.
type reading struct {
	io.ReadCloser
	b      *body
	first  bool
	n      int64 // that were read
	closed bool  // an error may come of that
}

func (r *reading) Read(p []byte) (int, error) {
	b := r.b
	b.mu.Lock()
	b.used = b.used || r.first
	b.mu.Unlock()
	n, err := r.ReadCloser.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	r.n += int64(n)
	switch want := b.req.ContentLength; {
	case r.closed:
	case err != nil && err != io.EOF, want > 0 && (r.n > want || err == io.EOF && r.n < want):
		b.bad = true
	}
	return n, err
}

func (r *reading) Close() error {
	b := r.b
	b.mu.Lock()
	r.closed = true
	b.asked = b.asked || r.first
	keep := r.first && !b.used && !b.final
	b.mu.Unlock()
	if keep {
		return nil
	}
	return r.ReadCloser.Close()
}

// answered returns the body of a response that calls done once: when it has been read
// to its end, has failed, or is closed.
func answered(rc io.ReadCloser, done func(error)) io.ReadCloser {
	if rc == nil || rc == http.NoBody {
		done(nil)
		return rc
	}
	r := &response{ReadCloser: rc, done: done}
	if w, ok := rc.(io.Writer); ok {
		return upgraded{r, w}
	}
	return r
}

type response struct {
	io.ReadCloser
	once   sync.Once
	done   func(error)
	closed atomic.Bool // what a Read meets then is nobody's fault
}

func (r *response) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	switch {
	case err == nil:
	case err == io.EOF || r.closed.Load():
		r.once.Do(func() { r.done(nil) })
	default:
		r.once.Do(func() { r.done(err) })
	}
	return n, err
}

func (r *response) Close() error {
	r.closed.Store(true)
	err := r.ReadCloser.Close()
	r.once.Do(func() { r.done(nil) })
	return err
}

// upgraded is the body of a response that is a connection from then on.
type upgraded struct {
	*response
	io.Writer
}

// CloseWrite is what net/http's own has, for whoever passes on the end of a stream.
func (u upgraded) CloseWrite() error {
	if c, ok := u.ReadCloser.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return fmt.Errorf("httpreg: CloseWrite: %w", http.ErrNotSupported)
}
