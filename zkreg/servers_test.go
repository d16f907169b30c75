package zkreg_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/zkreg"
)

// What is no address is an error at once, and no outage.
func TestBadServers(t *testing.T) {
	for _, servers := range [][]string{nil, {"tcp://h:2181"}, {"h:2181", ""}, {"h:0"}} {
		reg := registry.New(zkreg.New(servers, nil), nil)
		_, lookup := reg.Lookup(t.Context(), "svc")
		_, register := reg.Register(t.Context(), registry.Instance{Service: "svc", Addr: "h:1"})
		for _, err := range []error{lookup, register} {
			if !errors.Is(err, registry.ErrInvalid) || !strings.Contains(err.Error(), strings.Join(servers, ",")) {
				t.Errorf("%q: %v, want ErrInvalid, and the servers", servers, err)
			}
		}
		_ = reg.Close()
	}
	secret := zkreg.New([]string{"user:hunter2@h:1"}, nil)
	if _, err := secret.Lookup(t.Context(), "svc"); !errors.Is(err, registry.ErrInvalid) || strings.Contains(err.Error()+secret.String(), "hunter2") {
		t.Errorf("a password is quoted back: %v, %v", err, secret)
	}
	if s := zkreg.New([]string{"h"}, nil).String(); s != "zookeeper h:2181" {
		t.Errorf("without a port: %s", s)
	}
}
