// Package staticreg is a fixed list of instances as a registry to read from: for
// development, for tests, and for a service that is not registered anywhere.
//
// Importing the package lets [registry.Open] open "static://h1:8897,h2:8897". Whatever
// service is asked for has these instances, whose IDs are their addresses. Nothing can
// be registered there: the error wraps registry.ErrDenied and errors.ErrUnsupported.
package staticreg

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-rollcall/registry"
)

func init() {
	registry.RegisterScheme("static", func(_ context.Context, u *url.URL) (registry.Backend, error) {
		if _, err := registry.Params(u); err != nil {
			return nil, err
		}
		if u.Host == "" || u.Path != "" {
			return nil, fmt.Errorf("%w URL: want static://host:port,host:port, and no path", registry.ErrInvalid)
		}
		addrs, err := registry.Servers(u, "") // each needs a port: there is no usual one
		if err != nil {
			return nil, err
		}
		return New(addrs...)
	})
}

type list struct{ recs []registry.Record }

// New returns a Backend in which each service has an instance at each of addrs, which
// are of the form host:port, valid as Addr and ID of an Instance, and different; else the
// error wraps [registry.ErrInvalid]. The Backend is safe for concurrent use.
func New(addrs ...string) (registry.Backend, error) {
	l := &list{}
	for i, addr := range addrs {
		if err := (registry.Instance{Service: "any", Addr: addr}).Validate(); err != nil {
			return nil, err
		}
		if slices.Contains(addrs[:i], addr) {
			return nil, fmt.Errorf("%w list: the address %q is in it twice", registry.ErrInvalid, addr)
		}
		l.recs = append(l.recs, registry.Record{ID: addr})
	}
	return l, nil
}

func (l *list) String() string {
	var b strings.Builder
	b.WriteString("static")
	for i, rec := range l.recs {
		b.WriteString([]string{" ", ","}[min(i, 1)] + rec.ID)
	}
	return b.String()
}

func (l *list) NewSession(context.Context, time.Duration) (registry.Session, error) {
	return nil, fmt.Errorf("%w: nothing can be registered in a fixed list: %w", registry.ErrDenied, errors.ErrUnsupported)
}

func (l *list) Lookup(context.Context, string) ([]registry.Record, error) {
	return slices.Clone(l.recs), nil
}

// Services returns no names: a list has instances of any.
func (l *list) Services(context.Context) ([]string, error) { return nil, nil }

func (l *list) Watch(ctx context.Context, _ string, sink registry.Sink) error {
	sink.Reset(slices.Clone(l.recs), "")
	<-ctx.Done()
	return ctx.Err()
}

func (l *list) Current(context.Context, string, string) (bool, error) { return true, nil }

func (l *list) Close() error { return nil }
