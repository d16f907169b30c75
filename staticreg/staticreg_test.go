package staticreg_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/staticreg"
)

func Example() {
	ctx := context.Background()
	reg, err := registry.Open(ctx, "static://h2:8897,h1:8897", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer reg.Close()
	list, err := reg.Lookup(ctx, "go_servers")
	fmt.Println(list[0].Addr, list[1].Addr, err)
	// Output: h1:8897 h2:8897 <nil>
}

func open(t *testing.T, raw string) registry.Registry {
	reg, err := registry.Open(t.Context(), raw, &registry.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := reg.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return reg
}

// A watch yields the list once, and lasts; it stays confirmed.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := open(t, "static://h1:8897,[::1]:80")
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		var seen []registry.Snapshot
		for snap, err := range reg.Watch(ctx, "any") {
			if err != nil {
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
				break
			}
			seen = append(seen, snap)
		}
		if len(seen) != 1 || seen[0].Err != nil || len(seen[0].Instances) != 2 || seen[0].Instances[0].ID != "[::1]:80" {
			t.Errorf("the watch yields %+v", seen)
		}
	})
}

func TestRegisterIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := open(t, "static://h1:8897")
		start := time.Now()
		_, err := reg.Register(t.Context(), registry.Instance{Service: "svc", Addr: "h:1"})
		const want = `registry: register "svc" instance "h:1" at static h1:8897: denied by the registry: nothing can be registered in a fixed list: unsupported operation`
		if !errors.Is(err, registry.ErrDenied) || !errors.Is(err, errors.ErrUnsupported) || err.Error() != want {
			t.Errorf("\n got %v\nwant %s", err, want)
		}
		if d := time.Since(start); d > 0 {
			t.Errorf("it took %v", d)
		}
		if names, err := reg.Services(t.Context()); err != nil || len(names) > 0 {
			t.Errorf("services: %v, %v", names, err)
		}
	})
}

func TestBadURLs(t *testing.T) {
	for _, raw := range []string{
		"static://", "static:", "static://h1", "static://h1:1,", "static://h1:1,h1:1", "static://h1:1/root", "static://h1:1?x=1", "static://h1:0", "static:///",
	} {
		if _, err := registry.Open(t.Context(), raw, nil); !errors.Is(err, registry.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", raw, err)
		}
	}
}

// What could not be registered cannot be in a list either.
func TestBadAddresses(t *testing.T) {
	for _, addr := range []string{"", "h1", "h1:0", "h1:http", ":80", "h1:70000", "h 1:80", "h1/a:80"} {
		if _, err := staticreg.New("h2:80", addr); !errors.Is(err, registry.ErrInvalid) {
			t.Errorf("%q: %v, want ErrInvalid", addr, err)
		}
	}
	if _, err := staticreg.New("h1:80", "[::1]:80"); err != nil {
		t.Error(err)
	}
}
