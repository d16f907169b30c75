package registry_test

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/memreg"
)

// quiet is for tests that do not look at logs.
var quiet = &registry.Options{Logger: slog.New(slog.DiscardHandler)}

func TestOpenRefuses(t *testing.T) {
	for raw, want := range map[string][]string{
		"zk://h:2181":           {`"zk"`, "linked in: ", "mem", `import _ "github.com/go-rollcall/registry/zkreg"`},
		"no://h":                {`"no"`, "linked in: ", "mem", "import the package of a backend"},
		"mem://h?speed=9":       {`parameter "speed" of mem`, "takes none"},
		"board://":              {"no host", "board://host:1149"},
		"board://h?speed=9":     {`parameter "speed" of board`, "takes corner, pins"},
		"board://h?pins=1;2":    {"parameters"},
		"board://h?pins=1&pins": {`"pins"`, "2 times"},
		"board://h:0":           {`"h:0"`, "port"},
		"board://u:hunter2@h":   {"passwords do not belong"},
		"board://hunter2@h":     {"passwords do not belong"},
	} {
		reg, err := registry.Open(t.Context(), raw, quiet)
		var e *registry.Error
		if reg != nil || !errors.Is(err, registry.ErrInvalid) || !errors.As(err, &e) || e.Op != "open" {
			t.Errorf("%s: %v, %v; want an *Error of open around ErrInvalid", raw, reg, err)
			continue
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v; want %q in it", raw, err, w)
			}
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the password is quoted back: %v", raw, err)
		}
	}
}

func TestRegisterSchemeTwice(t *testing.T) {
	defer func() {
		if msg, _ := recover().(string); !strings.Contains(msg, "twice for mem") {
			t.Errorf("panic %q; want one that names the scheme", msg)
		}
	}()
	registry.RegisterScheme("mem", func(context.Context, *url.URL) (registry.Backend, error) { return nil, nil })
}

func TestRegisterSchemeRefuses(t *testing.T) {
	open := func(context.Context, *url.URL) (registry.Backend, error) { return nil, nil }
	for scheme, open := range map[string]func(context.Context, *url.URL) (registry.Backend, error){
		"": open, "Board": open, "my_backend": open, "1st": open, "a:b": open, "a/b": open, "fine": nil,
	} {
		func() {
			defer func() {
				if msg, ok := recover().(string); !ok || !strings.Contains(msg, scheme) {
					t.Errorf("%q: panic %q; want one that names the scheme", scheme, msg)
				}
			}()
			registry.RegisterScheme(scheme, open)
		}()
	}
}

func TestNamedStores(t *testing.T) {
	ctx := t.Context()
	open := func(raw string) registry.Registry {
		reg, err := registry.Open(ctx, raw, quiet)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = reg.Close() })
		return reg
	}
	name := "mem://" + strings.ToLower(t.Name())
	if _, err := open(name+"/top").Register(ctx, registry.Instance{Service: "svc", Addr: "h:1"}); err != nil {
		t.Fatal(err)
	}
	for raw, want := range map[string]int{name + "/top": 1, name + "/top/": 1, name: 0, name + "/other": 0, name + "2/root": 0, "mem:/top": 0} {
		if list, err := open(raw).Lookup(ctx, "svc"); err != nil || len(list) != want {
			t.Errorf("%s: %v, %v; want %d", raw, list, err, want)
		}
	}
}

func TestBadOptions(t *testing.T) {
	ctx := t.Context()
	for _, tt := range []struct {
		opts registry.Options
		want string
	}{
		{registry.Options{TTL: -time.Second}, "invalid TTL -1s: want 100ms to 24h0m0s, or 0 for 10s"},
		{registry.Options{TTL: 1}, "invalid TTL 1ns: want 100ms"},
		{registry.Options{TTL: 1000 * time.Hour}, "invalid TTL 1000h0m0s: want 100ms"},
		{registry.Options{MaxInstances: -1}, "invalid MaxInstances -1: want 1 or more, or 0 for 100000"},
	} {
		conn := memreg.NewStore().Conn()
		reg := registry.New(conn, &tt.opts)
		errs := map[string]error{}
		_, errs["Open"] = registry.Open(ctx, "mem:", &tt.opts)
		_, errs["Register"] = reg.Register(ctx, registry.Instance{Service: "svc", Addr: "h:1"})
		_, errs["Lookup"] = reg.Lookup(ctx, "svc")
		_, errs["Services"] = reg.Services(ctx)
		for snap, err := range reg.Watch(ctx, "svc") {
			if err == nil {
				t.Fatalf("%+v: Watch yields %v", tt.opts, snap)
			}
			errs["Watch"] = err
		}
		if len(errs) != 5 {
			t.Errorf("%+v: Watch yields no error", tt.opts)
		}
		for call, err := range errs {
			if !errors.Is(err, registry.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%+v: %s: %v; want %q", tt.opts, call, err, tt.want)
			}
		}
		if n := conn.Requests(); n > 0 {
			t.Errorf("%+v: %d requests were sent", tt.opts, n)
		}
		if err := reg.Close(); err != nil {
			t.Errorf("%+v: Close: %v", tt.opts, err)
		}
	}
}

func TestGoodOptions(t *testing.T) {
	for _, opts := range []*registry.Options{nil, {}, {TTL: 100 * time.Millisecond}, {TTL: 24 * time.Hour}, {MaxInstances: 1}} {
		reg, err := registry.Open(t.Context(), "mem:", opts)
		if err != nil {
			t.Errorf("%+v: %v", opts, err)
			continue
		}
		if _, err := reg.Lookup(t.Context(), "nobody"); err != nil {
			t.Errorf("%+v: %v", opts, err)
		}
		if err := reg.Close(); err != nil {
			t.Errorf("%+v: %v", opts, err)
		}
	}
}
