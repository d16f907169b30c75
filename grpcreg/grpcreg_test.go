package grpcreg_test

import (
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/serviceconfig"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/grpcreg"
	"github.com/go-rollcall/registry/memreg"
)

// A conn is what a resolver tells a connection.
type conn struct {
	mu     sync.Mutex
	states []resolver.State
	errs   []error
}

func (c *conn) UpdateState(s resolver.State) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.states = append(c.states, s)
	return nil
}

func (c *conn) ReportError(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.errs = append(c.errs, err)
}

func (*conn) NewAddress([]resolver.Address)                        {}
func (*conn) ParseServiceConfig(string) *serviceconfig.ParseResult { return nil }

// said returns the first error, or one that says that there is none.
func (c *conn) said() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.errs) == 0 {
		return errors.New("no error")
	}
	return c.errs[0]
}

// told returns the newest addresses with their zones, and how many errors there were.
func (c *conn) told() (addrs string, updates, errs int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.states) > 0 {
		s := c.states[len(c.states)-1]
		var all []string
		for i, e := range s.Endpoints {
			all = append(all, e.Addresses[0].Addr+grpcreg.Meta(e)["zone"])
			if s.Addresses[i].Addr != e.Addresses[0].Addr {
				return "addresses and endpoints differ", 0, 0
			}
		}
		addrs = strings.Join(all, " ")
	}
	return addrs, len(c.states), len(c.errs)
}

func build(t *testing.T, reg registry.Registry, target string) (*conn, error) {
	c, r, err := buildWith(t, grpcreg.Builder(reg, nil), target)
	if err == nil {
		t.Cleanup(r.Close)
	}
	return c, err
}

// buildWith has b resolve target; the caller closes the resolver.
func buildWith(t *testing.T, b resolver.Builder, target string) (*conn, resolver.Resolver, error) {
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	c := &conn{}
	r, err := b.Build(resolver.Target{URL: *u}, c, resolver.BuildOptions{})
	return c, r, err
}

func bubble(t *testing.T, f func(t *testing.T, store *memreg.Store, link *memreg.Conn, reg registry.Registry)) {
	synctest.Test(t, func(t *testing.T) {
		store := memreg.NewStore()
		link := store.Conn()
		reg := registry.New(link, &registry.Options{Logger: slog.New(slog.DiscardHandler)})
		t.Cleanup(func() { reg.Close() })
		f(t, store, link, reg)
	})
}

func TestFollows(t *testing.T) {
	bubble(t, func(t *testing.T, store *memreg.Store, link *memreg.Conn, reg registry.Registry) {
		store.Plant("svc", "a", []byte(`{"addr":"h:1","meta":{"zone":"x"}}`))
		c, err := build(t, reg, "registry:///svc")
		if err != nil {
			t.Fatal(err)
		}
		want := func(when, addrs string) {
			t.Helper()
			if got, _, errs := c.told(); got != addrs || errs != 0 {
				t.Errorf("%s: %q, and %d errors; want %q", when, got, errs, addrs)
			}
		}
		time.Sleep(time.Second)
		want("at first", "h:1x")
		store.Plant("svc", "b", []byte(`{"addr":"h:2"}`))
		time.Sleep(time.Second)
		want("one has come", "h:1x h:2")
		store.Plant("svc", "a", []byte(`{"addr":"h:1","meta":{"zone":"y"}}`))
		time.Sleep(time.Second)
		want("its zone has changed", "h:1y h:2")
		_, before, _ := c.told()

		link.Cut()
		time.Sleep(time.Hour)
		want("in an outage", "h:1y h:2")
		if _, n, _ := c.told(); n != before {
			t.Errorf("%d updates in an outage", n-before)
		}
		link.Heal()
		store.Remove("svc", "b")
		time.Sleep(time.Minute)
		want("after it", "h:1y")
		store.Remove("svc", "a")
		time.Sleep(time.Minute)
		want("nobody is left, for certain", "")
	})
}

// Before the first set the connection is told why there is none, and never that there
// is nobody.
func TestAwayAtStart(t *testing.T) {
	bubble(t, func(t *testing.T, store *memreg.Store, link *memreg.Conn, reg registry.Registry) {
		store.Plant("svc", "h:1", nil)
		link.Cut()
		c, err := build(t, reg, "registry:///svc")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		_, updates, errs := c.told()
		if updates != 0 || errs == 0 || !strings.Contains(c.said().Error(), "the link is cut") {
			t.Errorf("%d updates, %d errors, the first: %v", updates, errs, c.said())
		}
		link.Heal()
		time.Sleep(time.Minute)
		if got, _, _ := c.told(); got != "h:1" {
			t.Errorf("the registry is back: %q", got)
		}
	})
}

func TestDeniedAtStart(t *testing.T) {
	bubble(t, func(t *testing.T, store *memreg.Store, link *memreg.Conn, reg registry.Registry) {
		store.Plant("svc", "h:1", nil)
		link.Deny()
		c, err := build(t, reg, "registry:///svc")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		_, updates, errs := c.told()
		if updates != 0 || errs == 0 || errs > 40 || !errors.Is(c.said(), registry.ErrDenied) {
			t.Errorf("%d updates, %d errors, the first: %v", updates, errs, c.said())
		}
		link.Allow()
		time.Sleep(time.Minute)
		if got, _, _ := c.told(); got != "h:1" {
			t.Errorf("allowed again: %q", got)
		}
	})
}

func TestRegistryClosed(t *testing.T) {
	bubble(t, func(t *testing.T, store *memreg.Store, _ *memreg.Conn, reg registry.Registry) {
		store.Plant("svc", "h:1", nil)
		c, err := build(t, reg, "registry:///svc")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		reg.Close()
		time.Sleep(time.Minute)
		if got, updates, _ := c.told(); got != "h:1" || updates != 1 {
			t.Errorf("%q after %d updates: want the last set to stay", got, updates)
		}
	})
}

func TestTargets(t *testing.T) {
	reg := registry.New(memreg.NewStore().Conn(), nil)
	defer reg.Close()
	for _, target := range []string{"registry://svc", "registry://host/svc", "registry:///", "registry:///a/b"} {
		if _, err := build(t, reg, target); !errors.Is(err, registry.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", target, err)
		}
	}
}

// With a cache, a program that starts while the registry is away has addresses at once.
func TestBeginsWithCache(t *testing.T) {
	dir := t.TempDir()
	opts := &grpcreg.Options{Cache: dir, Logger: slog.New(slog.DiscardHandler)}
	for _, away := range []bool{false, true} {
		bubble(t, func(t *testing.T, store *memreg.Store, link *memreg.Conn, reg registry.Registry) {
			if away {
				link.Cut()
			} else {
				store.Plant("svc", "h:1", nil)
			}
			c, r, err := buildWith(t, grpcreg.Builder(reg, opts), "registry:///svc")
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			synctest.Wait()
			if got, _, errs := c.told(); got != "h:1" || errs > 0 {
				t.Errorf("the registry is away: %v, and %d errors, addresses %q", away, errs, got)
			}
			time.Sleep(time.Minute) // for the file to be written
		})
	}
}

// A cache may be older than what the Registry knows when the registry falls silent.
func TestCacheIsOlder(t *testing.T) {
	opts := &grpcreg.Options{Cache: t.TempDir(), Logger: slog.New(slog.DiscardHandler)}
	for _, addr := range []string{"h:1", "h:2"} {
		bubble(t, func(t *testing.T, store *memreg.Store, link *memreg.Conn, reg registry.Registry) {
			store.Plant("svc", addr, nil)
			if addr == "h:2" {
				known := false
				for snap, err := range reg.Watch(t.Context(), "svc") {
					if err != nil || snap.Err != nil {
						break
					}
					if !known {
						known = true
						link.Cut()
						v, err := registry.Follow(t.Context(), reg, "svc", nil) // keeps the watch
						if err != nil {
							t.Fatal(err)
						}
						defer v.Close()
					}
				}
			}
			c, r, err := buildWith(t, grpcreg.Builder(reg, opts), "registry:///svc")
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			time.Sleep(time.Minute) // for the file to be written
			if got, _, errs := c.told(); got != addr || errs > 0 {
				t.Errorf("%q, and %d errors; want %q", got, errs, addr)
			}
		})
	}
}

// gRPC lets go of the resolver of a connection that is idle, and takes another later: in an
// outage too it knows what it knew. What changed meanwhile is known at once.
func TestIdle(t *testing.T) {
	bubble(t, func(t *testing.T, store *memreg.Store, link *memreg.Conn, reg registry.Registry) {
		store.Plant("svc", "h:1", nil)
		b := grpcreg.Builder(reg, nil)
		for _, want := range []string{"h:1", "h:1 h:2", "h:1 h:2"} {
			c, r, err := buildWith(t, b, "registry:///svc")
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if got, _, errs := c.told(); got != want || errs > 0 {
				t.Errorf("addresses %q and %d errors, want %q", got, errs, want)
			}
			r.Close()
			store.Plant("svc", "h:2", nil)
			time.Sleep(time.Minute)
			link.Cut()
			time.Sleep(time.Hour)
		}
	})
}
