package httpreg

import (
	"crypto/tls"
	"io"
	"net/http"
	"sync"
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
}

func (b *body) none() bool { return b.req.Body == nil || b.req.Body == http.NoBody }

// reader returns the body of the next try.
func (b *body) reader() io.ReadCloser {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tries++
	b.asked = false
	if b.none() {
		return b.req.Body
	}
	if r := b.next; r != nil {
		b.next = nil
		return r
	}
	return firstBody{b}
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

// firstBody is the request's own.
type firstBody struct{ b *body }

func (f firstBody) Read(p []byte) (int, error) {
	f.b.mu.Lock()
	f.b.used = true
	f.b.mu.Unlock()
	return f.b.req.Body.Read(p)
}

func (f firstBody) Close() error {
	f.b.mu.Lock()
	f.b.asked = true
	keep := !f.b.used && !f.b.final
	f.b.mu.Unlock()
	if keep {
		return nil
	}
	return f.b.req.Body.Close()
}

// answered returns the body of a response that calls done once: when it has been read
// to its end, has failed, or is closed.
func answered(rc io.ReadCloser, done func(error)) io.ReadCloser {
	if rc == nil || rc == http.NoBody {
		done(nil)
		return rc
	}
	r := &response{ReadCloser: rc, done: done}
	if w, ok := rc.(io.Writer); ok { // of a connection that was upgraded
		return struct {
			*response
			io.Writer
		}{r, w}
	}
	return r
}

type response struct {
	io.ReadCloser
	once sync.Once
	done func(error)
}

func (r *response) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	switch err {
	case nil:
	case io.EOF:
		r.once.Do(func() { r.done(nil) })
	default:
		r.once.Do(func() { r.done(err) })
	}
	return n, err
}

func (r *response) Close() error {
	err := r.ReadCloser.Close()
	r.once.Do(func() { r.done(nil) })
	return err
}
