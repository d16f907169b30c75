package otelreg_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/conformance"
	"github.com/go-rollcall/registry/internal/memsuite"
	"github.com/go-rollcall/registry/memreg"
	"github.com/go-rollcall/registry/otelreg"
)

// A world has a Registry that is counted.
type world struct {
	t      *testing.T
	reader *sdk.ManualReader
	m      *otelreg.Meter
	store  *memreg.Store
	link   *memreg.Conn
	reg    registry.Registry
}

func newWorld(t *testing.T, opts *otelreg.Options) *world {
	w := &world{t: t, reader: sdk.NewManualReader(), store: memreg.NewStore()}
	var err error
	if w.m, err = otelreg.New(sdk.NewMeterProvider(sdk.WithReader(w.reader)), opts); err != nil {
		t.Fatal(err)
	}
	w.link = w.store.Conn()
	w.reg = w.m.Registry(registry.New(w.link, &registry.Options{Logger: slog.New(slog.DiscardHandler), Observe: w.m.Observe}))
	t.Cleanup(func() { w.reg.Close() })
	return w
}

// metrics returns all values by "name{key=value,…}"; of a histogram, the count.
func (w *world) metrics() map[string]float64 {
	w.t.Helper()
	synctest.Wait() // events come when the calls that they are of may have returned
	var rm metricdata.ResourceMetrics
	if err := w.reader.Collect(context.Background(), &rm); err != nil {
		w.t.Fatal(err)
	}
	all := map[string]float64{}
	put := func(name string, set attribute.Set, v float64) {
		var kv []string
		for _, a := range set.ToSlice() {
			kv = append(kv, string(a.Key)+"="+a.Value.String())
		}
		all[name+"{"+strings.Join(kv, ",")+"}"] = v
	}
	for _, sm := range rm.ScopeMetrics {
		for _, m := range sm.Metrics {
			switch d := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range d.DataPoints {
					put(m.Name, p.Attributes, float64(p.Value))
				}
			case metricdata.Gauge[int64]:
				for _, p := range d.DataPoints {
					put(m.Name, p.Attributes, float64(p.Value))
				}
			case metricdata.Gauge[float64]:
				for _, p := range d.DataPoints {
					put(m.Name, p.Attributes, p.Value)
				}
			case metricdata.Histogram[float64]:
				for _, p := range d.DataPoints {
					if len(p.Bounds) == 0 || p.Bounds[0] > 0.005 {
						w.t.Errorf("%s does not tell calls of milliseconds apart: %v", m.Name, p.Bounds)
					}
					put(m.Name, p.Attributes, float64(p.Count))
				}
			default:
				w.t.Errorf("%s is a %T", m.Name, d)
			}
		}
	}
	return all
}

// want fails if a metric has another value.
func (w *world) want(when string, values map[string]float64) {
	w.t.Helper()
	got := w.metrics()
	for _, k := range slices.Sorted(maps.Keys(values)) {
		if v, ok := got[k]; !ok || v != values[k] {
			w.t.Errorf("%s: %s is %v (%v), want %v", when, k, v, ok, values[k])
		}
	}
	if w.t.Failed() {
		for _, k := range slices.Sorted(maps.Keys(got)) {
			w.t.Logf("%s %v", k, got[k])
		}
	}
}

func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		for _, addr := range []string{"h:1", "h:2"} {
			if _, err := w.reg.Register(t.Context(), registry.Instance{Service: "svc", Addr: addr}); err != nil {
				t.Fatal(err)
			}
		}
		view, err := registry.Follow(t.Context(), w.reg, "svc", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer view.Close()
		time.Sleep(time.Minute)
		if _, err := w.reg.Lookup(t.Context(), "no/such"); err == nil {
			t.Error("no error")
		}
		w.want("all is well", map[string]float64{
			"registry.sessions{}":                                  1,
			"registry.records.written{service=svc}":                2,
			"registry.registrations{service=svc,state=confirmed}":  2,
			"registry.instances{service=svc}":                      2,
			"registry.snapshot.age{service=svc}":                   0,
			"registry.call.duration{op=register}":                  2,
			"registry.call.duration{op=watch}":                     1,
			"registry.call.duration{error.type=invalid,op=lookup}": 1,
		})
		w.link.Cut()
		time.Sleep(time.Minute)
		w.want("in an outage", map[string]float64{
			"registry.registrations{service=svc,state=unconfirmed}": 2,
			"registry.instances{service=svc}":                       2,
			"registry.snapshot.age{service=svc}":                    60,
		})
		if n := w.metrics()["registry.retries{error.type=other,op=renew}"]; n < 20 {
			t.Errorf("%v renewals were tried again", n)
		}
		w.link.Heal()
		time.Sleep(time.Minute)
		w.want("after it", map[string]float64{
			"registry.sessions{}":                                        1,
			"registry.sessions.lost{error.type=session_lost}":            1,
			"registry.records.lost{error.type=session_lost,service=svc}": 2,
			"registry.records.written{service=svc}":                      4,
			"registry.registrations{service=svc,state=confirmed}":        2,
			"registry.snapshot.age{service=svc}":                         0,
		})
		w.reg.Close()
		got := w.metrics()
		if got["registry.sessions{}"] != 0 || got["registry.registrations{service=svc,state=confirmed}"] != 0 {
			t.Errorf("after Close: %v", got)
		}
	})
}

// A service of which no set ever came is as old as the wish for it, whatever is in the way.
func TestNoFirstSet(t *testing.T) {
	for name, tt := range map[string]struct{ begin, end func(*memreg.Conn) }{
		"away":    {(*memreg.Conn).Cut, (*memreg.Conn).Heal},
		"refused": {(*memreg.Conn).Deny, (*memreg.Conn).Allow},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				tt.begin(w.link)
				time.Sleep(time.Second)
				view, err := registry.Follow(t.Context(), w.reg, "svc", &registry.FollowOptions{Logger: slog.New(slog.DiscardHandler)})
				if err != nil {
					t.Fatal(err)
				}
				defer view.Close()
				for i := range 60 {
					time.Sleep(time.Minute)
					w.want(fmt.Sprint("after ", i+1, " minutes"), map[string]float64{"registry.snapshot.age{service=svc}": float64(60 * (i + 1))})
				}
				if n, ok := w.metrics()["registry.instances{service=svc}"]; ok {
					t.Errorf("%v instances, where nothing is known", n)
				}
				tt.end(w.link)
				time.Sleep(time.Minute)
				w.want("in the end", map[string]float64{"registry.snapshot.age{service=svc}": 0, "registry.instances{service=svc}": 0})
				tt.begin(w.link)
				time.Sleep(time.Minute)
				view.Close()
				time.Sleep(time.Minute)
				if age, ok := w.metrics()["registry.snapshot.age{service=svc}"]; ok {
					t.Errorf("nobody wants it any more, and it is %v old", age)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				for range w.reg.Watch(ctx, "svc2") { // tried, and never again
					break
				}
				time.Sleep(time.Minute)
				if age, ok := w.metrics()["registry.snapshot.age{service=svc2}"]; ok {
					t.Errorf("nobody wants the other any more, and it is %v old", age)
				}
			})
		})
	}
}

// What has ended is no registration any more, and is not kept.
func TestEndedRegistrations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		for i := range 100 {
			r, err := w.reg.Register(t.Context(), registry.Instance{Service: "svc", Addr: fmt.Sprintf("h:%d", i+1)})
			if err != nil {
				t.Fatal(err)
			}
			if i > 0 {
				if err := r.Deregister(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		w.want("one is left", map[string]float64{
			"registry.registrations{service=svc,state=confirmed}": 1,
			"registry.call.duration{op=deregister}":               99,
		})
	})
}

func TestServicesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &otelreg.Options{MaxServices: 3})
		for i := range 50 {
			if _, err := w.reg.Register(t.Context(), registry.Instance{Service: fmt.Sprint("svc", i), Addr: "h:1"}); err != nil {
				t.Fatal(err)
			}
		}
		names := map[string]bool{}
		for k := range w.metrics() {
			if _, s, ok := strings.Cut(k, "service="); ok {
				names[strings.TrimRight(strings.Split(s, ",")[0], "}")] = true
			}
			if strings.Contains(k, "h:1") {
				t.Errorf("%s has an address", k)
			}
		}
		if len(names) != 4 || !names[otelreg.Others] {
			t.Errorf("services %v, want three and the others", names)
		}
		w.want("47 others", map[string]float64{"registry.records.written{service=(others)}": 47})
	})
}

// Being counted changes nothing: the suite holds.
func TestConformance(t *testing.T) {
	m, err := otelreg.New(sdk.NewMeterProvider(sdk.WithReader(sdk.NewManualReader())), nil)
	if err != nil {
		t.Fatal(err)
	}
	conformance.Run(t, memsuite.Virtual(func(c *memreg.Conn, opts *registry.Options) registry.Registry {
		o := *opts
		o.Observe = func(e registry.Event) {
			m.Observe(e)
			if opts.Observe != nil {
				opts.Observe(e)
			}
		}
		return m.Registry(registry.New(c, &o))
	}))
}
