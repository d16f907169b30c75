package consulreg_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/consulreg"
	"github.com/go-rollcall/registry/internal/testserver"
	"github.com/hashicorp/consul/api"
)

// A Registry that only watches, with a TTL of half a second, leaves a server that is silent.
func TestLeavesSilentServers(t *testing.T) {
	p := newPlace(t)
	testserver.LeavesSilentServers(t, p.server.Addr(), func(servers ...string) registry.Backend {
		return consulreg.New(servers, &consulreg.Options{Root: p.root, Config: &api.Config{Token: p.token}})
	})
}

// What is no address is an error at once, and no outage.
func TestBadServers(t *testing.T) {
	for _, servers := range [][]string{nil, {"http://h:8500"}, {"h:8500", ""}, {"h:0"}} {
		reg := registry.New(consulreg.New(servers, nil), nil)
		if _, err := reg.Lookup(t.Context(), "svc"); !errors.Is(err, registry.ErrInvalid) || !strings.Contains(err.Error(), strings.Join(servers, ",")) {
			t.Errorf("%q: %v, want ErrInvalid, and the servers", servers, err)
		}
		_ = reg.Close()
	}
	secret := consulreg.New([]string{"user:hunter2@h:1"}, nil)
	if _, err := secret.Lookup(t.Context(), "svc"); !errors.Is(err, registry.ErrInvalid) || strings.Contains(err.Error()+secret.String(), "hunter2") {
		t.Errorf("a password is quoted back: %v, %v", err, secret)
	}
	if s := consulreg.New([]string{"h"}, nil).String(); s != "consul h:8500" {
		t.Errorf("without a port: %s", s)
	}
}

// Close waits for connections that are being made, and ends them.
func TestCloseEndsDials(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan struct{})
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		close(begun)
		<-ctx.Done()
		close(ended)
		return nil, ctx.Err()
	}
	b := consulreg.New([]string{"h:1"}, &consulreg.Options{Config: &api.Config{Transport: &http.Transport{DialContext: dial}}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	go func() {
		<-begun
		cancel()
	}()
	if _, err := b.Lookup(ctx, "svc"); err == nil {
		t.Error("a lookup without a connection")
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	select {
	case <-ended:
	default:
		t.Error("a dial goes on after Close")
	}
}

// A transport's older form of a dial function counts.
func TestOlderDial(t *testing.T) {
	b := consulreg.New([]string{"h:1"}, &consulreg.Options{Config: &api.Config{Transport: &http.Transport{
		//lint:ignore SA1019 a user may have it
		Dial: func(string, string) (net.Conn, error) { return nil, errors.New("by way of the tunnel") },
	}}})
	defer b.Close()
	if _, err := b.Lookup(t.Context(), "svc"); err == nil || !strings.Contains(err.Error(), "by way of the tunnel") {
		t.Errorf("%v, want the dial function's", err)
	}
}
