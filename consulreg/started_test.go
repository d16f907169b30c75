package consulreg_test

import (
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

// A server that has just started says of sessions that it does not know them, before
// it knows what is in its log. They are not lost.
func TestSessionThatIsNotKnownYet(t *testing.T) {
	p := newPlace(t)
	relay := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: p.server.Addr()})
	denied := make(chan struct{}, 2) // two renewals meet a server that has just started
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/session/renew/") {
			select {
			case denied <- struct{}{}:
				http.NotFound(w, r)
				return
			default:
			}
		}
		relay.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	spy := &testserver.Spy{Backend: consulreg.New([]string{s.Listener.Addr().String()}, &consulreg.Options{Root: p.root, Config: &api.Config{Token: p.token}})}
	reg := registry.New(spy, &registry.Options{TTL: 2 * time.Second, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	t.Cleanup(func() { reg.Close() })
	p.register(reg, "x")
	p.await("two renewals", func() bool { return len(denied) == cap(denied) })
	p.register(reg, "y") // under the session that there is by then
	if ids := spy.Sessions(); len(ids) != 1 {
		t.Errorf("%d sessions were opened, want the first to be kept", len(ids))
	}
}
