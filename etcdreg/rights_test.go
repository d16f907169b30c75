package etcdreg_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/etcdreg"
	"github.com/go-rollcall/registry/internal/testserver"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// etcd refuses to renew a lease for the sake of one key on it. The others stay.
func TestDeniedBesideAllowed(t *testing.T) {
	e := testserver.SharedEtcd(t)
	if !e.CanDeny() {
		t.Skip("the server from outside asks for no credentials")
	}
	admin, root := e.Admin(t), "/"+t.Name()+rand.Text()
	user, password := admin.User(t, root)
	t.Cleanup(func() { admin.Delete(t, root) })
	open := func() registry.Registry {
		b := etcdreg.New([]string{e.Addr()}, &etcdreg.Options{Root: root, Config: clientv3.Config{Username: user, Password: password}})
		reg := registry.New(b, &registry.Options{TTL: 2 * time.Second, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
		t.Cleanup(func() { reg.Close() })
		return reg
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	owner, reader := open(), open()
	var regs []registry.Registration
	for _, service := range []string{"denied", "allowed"} {
		r, err := owner.Register(ctx, registry.Instance{Service: service, Addr: "h:1"})
		if err != nil {
			t.Fatal(err)
		}
		regs = append(regs, r)
	}
	admin.Deny(t, user, root, "denied")
	seen, stop := context.WithTimeout(ctx, 3*regs[1].TTL())
	defer stop()
	for s, err := range reader.Watch(seen, "allowed") {
		if err == nil && len(s.Instances) != 1 {
			t.Errorf("another service was denied, and a watcher of this one saw %d instances", len(s.Instances))
		}
	}
	if err := regs[1].Err(); err != nil {
		t.Errorf("the registration that is allowed: %v", err)
	}
	admin.Allow(t, user, root, "denied")
	for regs[0].Err() != nil {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("allowed again: %v", regs[0].Err())
		}
	}
}

func TestBadServers(t *testing.T) {
	for _, servers := range [][]string{nil, {""}, {"a b:1"}, {"h:0"}, {"http://user:secret@h:1"}} {
		reg := registry.New(etcdreg.New(servers, nil), nil)
		_, err := reg.Lookup(t.Context(), "s")
		if !errors.Is(err, registry.ErrInvalid) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", servers, err)
		}
		if err := reg.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}

func TestWrongPassword(t *testing.T) {
	e := testserver.SharedEtcd(t)
	if !e.CanDeny() {
		t.Skip("the server from outside asks for no credentials")
	}
	user, _ := e.Admin(t).User(t, "/"+t.Name())
	b := etcdreg.New([]string{e.Addr()}, &etcdreg.Options{Root: "/" + t.Name(), Config: clientv3.Config{Username: user, Password: "wrong"}})
	reg := registry.New(b, nil)
	defer reg.Close()
	if _, err := reg.Register(t.Context(), registry.Instance{Service: "s", Addr: "h:1"}); !errors.Is(err, registry.ErrDenied) {
		t.Errorf("registering with a wrong password: %v", err)
	}
}

// A token that the server does not know is refused, and nobody waits for it to be known.
func TestTokenThatIsRefused(t *testing.T) {
	e := testserver.SharedEtcd(t)
	if !e.CanDeny() {
		t.Skip("the server from outside asks for no credentials")
	}
	reg := registry.New(etcdreg.New([]string{e.Addr()}, &etcdreg.Options{Config: clientv3.Config{Token: "hunter2"}}), nil)
	defer reg.Close()
	_, lookup := reg.Lookup(t.Context(), "svc")
	_, register := reg.Register(t.Context(), registry.Instance{Service: "svc", Addr: "h:1"})
	for _, err := range []error{lookup, register} {
		if !errors.Is(err, registry.ErrDenied) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v, want ErrDenied, without the token", err)
		}
	}
}
