package consulreg

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/internal/silence"
	"github.com/hashicorp/consul/api"
)

// A link takes the requests of the client library to a server. It stays with one
// until a request fails there: then the next goes to the next.
type link struct {
	servers   []string
	transport *http.Transport
	dials     *dials

	mu    sync.Mutex
	turns int
	turn  *turn
}

// A turn is what a link asks of one server, one after the other and at the same
// time.
type turn struct {
	server string
	over   context.Context // ends when the server has fallen silent
	end    context.CancelFunc
	line   *silence.Line
}

// idle bounds the connections that are kept for later requests: as many as may be in
// flight together.
const idle = 32

// open makes the client library use a link. Nothing is sent yet.
func open(servers []string, config *api.Config) (*link, *api.Client, error) {
	own := api.DefaultConfig()
	if config != nil {
		c := *config
		c.Transport = cmp.Or(c.Transport, own.Transport)
		own = &c
	}
	tls := own.Transport.TLSClientConfig // Clone makes one up, and TLSConfig would not count
	t := own.Transport.Clone()
	t.TLSClientConfig = tls.Clone()
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 0, idle
	// Compressing a list of 10,000 takes the server longer than making it: 49 ms
	// until it is here, and 35 ms without.
	t.DisableCompression = true
	// HTTP/1 has a connection for each request in flight, so that one which is dead
	// is given up with its request.
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP1(true)
	if t.TLSClientConfig != nil {
		t.TLSClientConfig.NextProtos = nil
	}
	l := &link{servers: slices.Clone(servers), transport: t, dials: newDials(t)}
	if len(servers) == 0 {
		return l, nil, fmt.Errorf("%w: no servers", registry.ErrInvalid)
	}
	l.turns = rand.IntN(len(servers)) // not all clients at the first
	l.pass(nil)
	own.Address, own.HttpClient, own.Transport = "consul", nil, t
	client, err := api.NewClient(own) // which adds TLSConfig to t
	if err != nil {
		return l, nil, fmt.Errorf("%w configuration of the client library: %w", registry.ErrInvalid, err)
	}
	own.HttpClient.Transport = l
	return l, client, nil
}

// close ends all connections.
func (l *link) close() {
	l.dials.close()
	l.transport.CloseIdleConnections()
}

// RoundTrip makes one request, and reads the whole answer. An answer that is
// none of Consul's regular ones is an error, which the client library would cut
// down to its text. What fails names the server.
func (l *link) RoundTrip(req *http.Request) (*http.Response, error) {
	l.mu.Lock()
	t := l.turn
	l.mu.Unlock()
	ctx, cancel := context.WithCancelCause(req.Context())
	defer cancel(nil)
	defer context.AfterFunc(t.over, func() { cancel(errSilent) })()
	sent := time.Now()
	req = req.Clone(ctx)
	req.URL.Host, req.Host = t.server, t.server
	resp, err := l.transport.RoundTrip(req)
	var answer []byte
	if err == nil {
		answer, err = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		resp.Body = io.NopCloser(bytes.NewReader(answer))
	}
	switch {
	case err == nil:
		t.line.Heard()
		if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusNotFound {
			return resp, nil
		}
		r := &refusal{t.server, resp.StatusCode, string(bytes.TrimSpace(answer))}
		if err = r; !r.settled() {
			l.pass(t)
		}
	case ctx.Err() == nil:
		l.pass(t)
	default:
		err = context.Cause(ctx)
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			l.unanswered(t, sent)
		}
	}
	return nil, fmt.Errorf("%s: %w", t.server, err)
}

// unanswered gives up the connections that lie idle: that of the request, which is
// closed by now, was as good as they are. If nothing else has come either, what is
// under way to the server is given up too, and whoever waits for it asks another.
func (l *link) unanswered(t *turn, sent time.Time) {
	l.transport.CloseIdleConnections()
	if t.line.InVain(sent) {
		t.end()
		l.pass(t)
	}
}

// pass lets the next request go to the next server. Of the requests that fail in
// the same turn only one counts.
func (l *link) pass(t *turn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.turn == t {
		l.turn = &turn{server: l.servers[l.turns%len(l.servers)], line: silence.Begin()}
		l.turn.over, l.turn.end = context.WithCancel(context.Background())
		l.turns++
	}
}

// errSilent is why a request is given up that might have waited on.
var errSilent = errors.New("the server has fallen silent")

// A refusal is an answer of the server that is no success.
type refusal struct {
	server string
	status int
	answer string
}

func (r *refusal) Error() string { return fmt.Sprintf("%.500s (status %d)", r.answer, r.status) }

func (r *refusal) Unwrap() error {
	switch r.status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return registry.ErrDenied
	case http.StatusRequestEntityTooLarge:
		return registry.ErrTooLarge
	}
	return nil
}

// settled reports whether it is the answer of a server that is well: another would
// give the same. No leader, or too many requests, is not.
func (r *refusal) settled() bool {
	return r.status < http.StatusInternalServerError && r.status != http.StatusTooManyRequests
}

// ask makes a query with the client library, and brings its errors to ours.
func ask[T, M any](b *Backend, query func() (T, *M, error)) (answer T, meta *M, err error) {
	if b.bad != nil {
		return answer, nil, b.bad
	}
	answer, meta, err = query()
	var asked *url.Error
	switch {
	case errors.As(err, &asked):
		err = asked.Err // without the URL, which says less than what surrounds it
	case err != nil:
		err = fmt.Errorf("%v: what came is no answer of Consul's: %w", b, err)
	}
	return answer, meta, err
}

func consistent(ctx context.Context) *api.QueryOptions {
	return (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx)
}

func writing(ctx context.Context) *api.WriteOptions {
	return (&api.WriteOptions{}).WithContext(ctx)
}
