package registry_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/memreg"
)

func TestErrorText(t *testing.T) {
	for _, tt := range []struct {
		err  registry.Error
		want string
	}{
		{
			registry.Error{Op: "register", Service: "svc", ID: "10.0.0.7:80", Backend: "zookeeper h1:2181,h2:2181", Err: registry.ErrDenied},
			`registry: register "svc" instance "10.0.0.7:80" at zookeeper h1:2181,h2:2181: denied by the registry`,
		},
		{
			registry.Error{Op: "watch", Service: "svc", Backend: "memory", Err: registry.ErrClosed},
			`registry: watch "svc" at memory: closed`,
		},
		{
			registry.Error{Op: "services", Backend: "memory", Err: context.Canceled},
			`registry: services at memory: context canceled`,
		},
		{
			registry.Error{Op: "lookup", Service: "a\nb", Err: registry.ErrInvalid}, // one line in a log
			`registry: lookup "a\nb": invalid`,
		},
	} {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("%#v:\n got %s\nwant %s", tt.err, got, tt.want)
		}
	}
}

func TestErrorUnwraps(t *testing.T) {
	why := &fs.PathError{Op: "open", Path: "p", Err: fs.ErrNotExist}
	err := fmt.Errorf("mine: %w", &registry.Error{Op: "register", Err: fmt.Errorf("%w: %w", registry.ErrDenied, why)})
	var e *registry.Error
	var p *fs.PathError
	if !errors.As(err, &e) || e.Op != "register" || !errors.As(err, &p) || p != why {
		t.Errorf("%v: As does not find both errors", err)
	}
	if !errors.Is(err, registry.ErrDenied) || !errors.Is(err, fs.ErrNotExist) || errors.Is(err, registry.ErrClosed) {
		t.Errorf("%v: Is does not find what is there, or finds what is not", err)
	}
}

// The texts that users meet say what failed, on what and where.
func TestErrorsOfCalls(t *testing.T) {
	ctx := t.Context()
	conn := memreg.NewStore().Conn()
	reg := registry.New(conn, quiet)
	defer reg.Close()
	in := registry.Instance{Service: "svc", Addr: "10.0.0.7:80"}
	r, err := reg.Register(ctx, in)
	if err != nil {
		t.Fatal(err)
	}

	conn.Deny()
	stopped, stop := context.WithCancelCause(ctx)
	stop(errors.New("enough"))
	_, denied := reg.Lookup(ctx, "svc")
	_, invalid := reg.Register(ctx, registry.Instance{Service: "s/v", Addr: "h:1"})
	_, late := reg.Services(stopped)
	conn.Allow()
	if err := r.Deregister(ctx); err != nil {
		t.Fatal(err)
	}
	for want, err := range map[string]error{
		`registry: lookup "svc" at memory: denied by the registry: this client was denied`:              denied,
		`registry: register "s/v": invalid service "s/v": byte '/' at 1 is not among A-Z a-z 0-9 . _ -`: invalid,
		`registry: services at memory: enough`:                                                          late,
		`registry: registration of "svc" instance "10.0.0.7:80" at memory: closed`:                      r.Err(),
		`registry: update "svc" instance "10.0.0.7:80" at memory: closed`:                               r.Update(ctx, nil),
	} {
		if err == nil || err.Error() != want {
			t.Errorf(" got %v\nwant %s", err, want)
		}
	}
}
