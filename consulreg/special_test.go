package consulreg_test

import (
	"context"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/conformance"
	"github.com/go-rollcall/registry/consulreg"
	"github.com/go-rollcall/registry/internal/testserver"
	"github.com/hashicorp/consul/api"
)

// What only Consul has, and no other registry can be asked for.

// A place is a root of its own on the shared server.
type place struct {
	*testing.T
	server *testserver.Consul
	admin  *testserver.ConsulAdmin
	root   string
	token  string
	ctx    context.Context
}

func newPlace(t *testing.T) *place {
	server := testserver.SharedConsul(t)
	p := &place{T: t, server: server, admin: server.Admin(t), root: t.Name() + rand.Text()}
	p.token = p.admin.Token(t, p.root)
	t.Cleanup(func() { p.admin.Delete(t, p.root) })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	p.ctx = ctx
	return p
}

func (p *place) open(config *api.Config, servers ...string) registry.Registry {
	reg := registry.New(consulreg.New(servers, &consulreg.Options{Root: p.root, Config: config}), &registry.Options{TTL: 2 * time.Second, Logger: slog.New(slog.NewTextHandler(p.Output(), nil))})
	p.Cleanup(func() { reg.Close() })
	return reg
}

// raw is the client library by itself.
func (p *place) raw() *api.Client {
	c, err := api.NewClient(&api.Config{Address: p.server.Addr(), Token: p.token})
	if err != nil {
		p.Fatal(err)
	}
	return c
}

func (p *place) register(reg registry.Registry, id string) {
	p.Helper()
	if _, err := reg.Register(p.ctx, registry.Instance{Service: "svc", ID: id, Addr: "h:1"}); err != nil {
		p.Fatal(err)
	}
}

// await polls until ok, and fails after two seconds.
func (p *place) await(what string, ok func() bool) {
	p.Helper()
	for deadline := time.Now().Add(2 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.Fatalf("not within two seconds: %s", what)
		}
	}
}

func (p *place) ids(reg registry.Registry) (ids []string) {
	p.Helper()
	list, err := reg.Lookup(p.ctx, "svc")
	if err != nil {
		p.Fatal(err)
	}
	for _, in := range list {
		ids = append(ids, in.ID)
	}
	return ids
}

// Keys that no session holds, or that lie deeper, are no records.
func TestKeysOfNobody(t *testing.T) {
	p := newPlace(t)
	reg := p.open(&api.Config{Token: p.token}, p.server.Addr())
	for _, key := range []string{"svc", "svc/", "svc/h:2", "svc/deep/h:3", "empty/", "other/h:4"} {
		if _, err := p.raw().KV().Put(&api.KVPair{Key: p.root + "/" + key}, nil); err != nil {
			t.Fatal(err)
		}
	}
	p.admin.Set(t, p.root+"/svc/deep/h:5", nil)
	if ids := p.ids(reg); len(ids) > 0 {
		t.Errorf("a lookup gave %q", ids)
	}
	p.register(reg, "h:2") // which takes the place of nobody's
	for snap, err := range reg.Watch(p.ctx, "svc") {
		if err != nil || len(snap.Instances) != 1 || snap.Instances[0].ID != "h:2" || snap.Skipped > 0 {
			t.Errorf("a watch gave %v, %v", snap, err)
		}
		break
	}
	if names, err := reg.Services(p.ctx); err != nil || !slices.Equal(names, []string{"svc"}) {
		t.Errorf("services: %q, %v", names, err)
	}
}

// A lock delay that somebody else has asked for is waited for, and told.
func TestLockDelayOfOthers(t *testing.T) {
	p := newPlace(t)
	c := p.raw()
	id, _, err := c.Session().CreateNoChecks(&api.SessionEntry{Behavior: api.SessionBehaviorDelete, LockDelay: time.Second}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if ok, _, err := c.KV().Acquire(&api.KVPair{Key: p.root + "/svc/x", Session: id}, nil); err != nil || !ok {
		t.Fatal(ok, err)
	}
	p.admin.EndSession(t, id)
	reg := p.open(&api.Config{Token: p.token}, p.server.Addr())
	ctx, cancel := context.WithTimeout(p.ctx, 200*time.Millisecond)
	defer cancel()
	if _, err := reg.Register(ctx, registry.Instance{Service: "svc", ID: "x", Addr: "h:1"}); err == nil || !strings.Contains(err.Error(), "lock delay") {
		t.Errorf("Register in a lock delay: %v", err)
	}
	p.register(reg, "x")
}

// Without a token the server says nothing of what it leaves out of an answer.
func TestNoToken(t *testing.T) {
	p := newPlace(t)
	if !p.server.CanDeny() {
		t.Skip("the server asks for no tokens")
	}
	p.register(p.open(&api.Config{Token: p.token}, p.server.Addr()), "x")
	reg := p.open(nil, p.server.Addr())
	if list, err := reg.Lookup(p.ctx, "svc"); !errors.Is(err, registry.ErrDenied) {
		t.Errorf("Lookup: %v, %v; want ErrDenied", list, err)
	}
	for snap, err := range reg.Watch(p.ctx, "svc") {
		if !errors.Is(err, registry.ErrDenied) {
			t.Errorf("Watch: %v, %v; want ErrDenied", snap, err)
		}
	}
	if names, err := reg.Services(p.ctx); !errors.Is(err, registry.ErrDenied) {
		t.Errorf("Services: %q, %v; want ErrDenied", names, err)
	}
	// Another service whose name begins alike is another matter.
	p.admin.Set(t, p.root+"/svc2/x", nil)
	p.admin.Deny(t, p.token, p.root, "svc2")
	reg = p.open(&api.Config{Token: p.token}, p.server.Addr())
	for snap, err := range reg.Watch(p.ctx, "svc") {
		if err != nil || len(snap.Instances) != 1 {
			t.Errorf("Watch: %v, %v; want what the token may read", snap, err)
		}
		break
	}
}

// Each of several keys is guarded, also those whose names have a meaning in URLs,
// and one that is the first of its service as well as one that is not.
func TestEachKeyIsGuarded(t *testing.T) {
	p := newPlace(t)
	reg := p.open(&api.Config{Token: p.token}, p.server.Addr())
	var all []string
	back := func(id string) {
		t.Helper()
		p.admin.Delete(t, p.root+"/svc/"+id)
		p.await(fmt.Sprintf("%q back, of %q", id, all), func() bool { return slices.Equal(p.ids(reg), all) })
	}
	names := []string{"%41", "[fe80::1%25eth0]:80", "..x"}
	for _, id := range names {
		time.Sleep(100 * time.Millisecond) // until all is quiet around those before it
		p.register(reg, id)
		all = append(all, id)
		slices.Sort(all)
		back(id)
	}
	for _, id := range names {
		back(id)
	}
}

// One server refuses connections, one says nothing, and the third is well.
func TestServersInTurn(t *testing.T) {
	p := newPlace(t)
	dead := httptest.NewServer(nil)
	dead.Close()
	silent := conformance.NewProxy(t, p.server.Addr())
	silent.Freeze()
	reg := p.open(&api.Config{Token: p.token}, dead.Listener.Addr().String(), silent.Addr(), p.server.Addr())
	p.register(reg, "x")
	if ids := p.ids(reg); !slices.Equal(ids, []string{"x"}) {
		t.Errorf("a lookup gave %q", ids)
	}
}

// Options.Config counts, TLS included.
func TestTLS(t *testing.T) {
	p := newPlace(t)
	relay := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: p.server.Addr()})
	s := httptest.NewUnstartedServer(relay)
	relay.ErrorLog = log.New(io.Discard, "", 0)
	s.Config.ErrorLog = relay.ErrorLog
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	addr := s.Listener.Addr().String()
	p.register(p.open(&api.Config{Token: p.token, Scheme: "https", TLSConfig: api.TLSConfig{CAPem: ca}}, addr), "x")
	if _, err := p.open(&api.Config{Token: p.token, Scheme: "https"}, addr).Lookup(p.ctx, "svc"); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a server whose certificate nobody knows: %v", err)
	}
	bad := &api.Config{TLSConfig: api.TLSConfig{CAFile: "none"}}
	if _, err := p.open(bad, addr).Lookup(p.ctx, "svc"); !errors.Is(err, registry.ErrInvalid) {
		t.Errorf("a certificate that cannot be read: %v, want ErrInvalid", err)
	}
}

// A server that has just started answers before it knows what is in its log.
func TestServerThatHasJustStarted(t *testing.T) {
	p := newPlace(t)
	relay := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: p.server.Addr()})
	started := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-started:
		default:
			if _, sure := r.URL.Query()["consistent"]; r.Method == http.MethodGet && !sure {
				w.Header().Set("X-Consul-Index", "1")
				w.WriteHeader(http.StatusNotFound)
				return
			}
		}
		relay.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	p.register(p.open(&api.Config{Token: p.token}, p.server.Addr()), "x")
	reg := p.open(&api.Config{Token: p.token}, s.Listener.Addr().String())
	for snap, err := range reg.Watch(p.ctx, "svc") {
		if err != nil || len(snap.Instances) != 1 {
			t.Errorf("the first set is %v, %v; want what a lookup finds", snap.Instances, err)
		}
		break
	}
	close(started)
}
