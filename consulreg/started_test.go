package consulreg_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/consulreg"
	"github.com/go-rollcall/registry/internal/testserver"
	"github.com/hashicorp/consul/api"
)

// justStarted relays to the server of p, and answers as many calls of what as denied has room
// for as a server does that has just started, and does not know yet what is in its log.
func justStarted(p *place, what string, denied chan struct{}, answer http.HandlerFunc) *testserver.Spy {
	relay := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: p.server.Addr()})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, what) {
			select {
			case denied <- struct{}{}:
				answer(w, r)
				return
			default:
			}
		}
		relay.ServeHTTP(w, r)
	}))
	p.Cleanup(s.Close)
	return &testserver.Spy{Backend: consulreg.New([]string{s.Listener.Addr().String()}, &consulreg.Options{Root: p.root, Config: &api.Config{Token: p.token}})}
}

// A server that has just started says of sessions that it does not know them, before
// it knows what is in its log. They are not lost.
func TestSessionThatIsNotKnownYet(t *testing.T) {
	p := newPlace(t)
	denied := make(chan struct{}, 2) // two renewals meet it
	spy := justStarted(p, "/session/renew/", denied, http.NotFound)
	reg := registry.New(spy, &registry.Options{TTL: 2 * time.Second, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	t.Cleanup(func() { reg.Close() })
	p.register(reg, "x")
	p.await("two renewals", func() bool { return len(denied) == cap(denied) })
	p.register(reg, "y") // under the session that there is by then
	if ids := spy.Sessions(); len(ids) != 1 {
		t.Errorf("%d sessions were opened, want the first to be kept", len(ids))
	}
}

// It also says that it has ended them, which is the same as to say that it knows none.
func TestSessionThatIsNotEnded(t *testing.T) {
	for _, c := range []struct {
		name      string
		denied    int
		confirmed bool
	}{
		{"once", 1, true},
		{"again and again", 100, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlace(t)
			spy := justStarted(p, "/session/destroy/", make(chan struct{}, c.denied), func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "true") })
			reg := registry.New(spy, &registry.Options{TTL: 2 * time.Second, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
			p.register(reg, "x")
			if err := reg.Close(); (err == nil) != c.confirmed {
				t.Errorf("Close: %v; want it confirmed: %v", err, c.confirmed)
			}
			list, err := p.open(&api.Config{Token: p.token}, p.server.Addr()).Lookup(p.ctx, "svc")
			if err != nil || len(list) == 0 != c.confirmed {
				t.Errorf("after Close there is %v (%v)", list, err)
			}
		})
	}
}
