// Package otelreg counts what a Registry does, with the metrics of OpenTelemetry.
//
//	m, err := otelreg.New(otel.GetMeterProvider(), nil)
//	…
//	reg, err := registry.Open(ctx, url, &registry.Options{Observe: m.Observe})
//	…
//	reg = m.Registry(reg)
//
// Each half works without the other: the decorator sees what is asked of any Registry,
// the events say what one of package registry does on its own account.
//
//	metric                     kind                                                     attributes
//	registry.call.duration     histogram, s                                             op, error.type
//	registry.registrations     gauge                                                    service, state (confirmed, unconfirmed)
//	registry.instances         gauge, of services that are watched                      service
//	registry.snapshot.age      gauge, s: how long a watched set has been unconfirmed    service
//	                           (from the start if there was never one)
//	registry.sessions          up-down counter
//	registry.sessions.lost     counter                                                  error.type
//	registry.records.written   counter                                                  service
//	registry.records.lost      counter                                                  service, error.type
//	registry.retries           counter                                                  op, error.type
//
// An op is one of the methods of a Registry and of a Registration, "watch" until its
// first set; for retries one of [registry.Event]. An error.type is the name of one of
// the errors of package registry (closed, invalid, denied, too_large, superseded,
// session_lost), or canceled, timeout, other. So no attribute has an ID, an address or
// a text of an error, and the number of services is bounded.
package otelreg

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/go-rollcall/registry"
)

const (
	scope              = "github.com/go-rollcall/registry/otelreg"
	defaultMaxServices = 100

	// Others is the service attribute of all services beyond Options.MaxServices. It
	// is no valid name.
	Others = "(others)"
)

// Options configure a Meter. The zero value and nil work.
type Options struct {
	// MaxServices bounds the values of the service attribute: 100 if 0 or less. Those
	// that come first have their own.
	MaxServices int
}

// A Meter counts for one Registry or for several. All methods are safe for concurrent
// use.
type Meter struct {
	max int

	calls         metric.Float64Histogram
	sessions      metric.Int64UpDownCounter
	sessionsLost  metric.Int64Counter
	written, lost metric.Int64Counter
	retries       metric.Int64Counter

	mu    sync.Mutex
	known map[string]bool // services that have an attribute of their own
	regs  map[*metered]bool
}

// New returns a Meter that reports to provider, for as long as that does: there is nothing
// to close. The error is the provider's.
func New(provider metric.MeterProvider, opts *Options) (*Meter, error) {
	m := &Meter{max: defaultMaxServices, known: map[string]bool{}, regs: map[*metered]bool{}}
	if opts != nil && opts.MaxServices > 0 {
		m.max = opts.MaxServices
	}
	meter := provider.Meter(scope)
	var errs [9]error
	m.calls, errs[0] = meter.Float64Histogram("registry.call.duration", metric.WithUnit("s"),
		// The SDK's own boundaries are for milliseconds: the first is 5.
		metric.WithExplicitBucketBoundaries(0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
		metric.WithDescription("How long calls of a Registry took."))
	m.sessions, errs[1] = meter.Int64UpDownCounter("registry.sessions", metric.WithDescription("Sessions that are open."))
	m.sessionsLost, errs[2] = meter.Int64Counter("registry.sessions.lost", metric.WithDescription("Sessions that were lost or given up."))
	m.written, errs[3] = meter.Int64Counter("registry.records.written", metric.WithDescription("Registrations that the registry has confirmed, for the first time or again."))
	m.lost, errs[4] = meter.Int64Counter("registry.records.lost", metric.WithDescription("Registrations that the registry has lost."))
	m.retries, errs[5] = meter.Int64Counter("registry.retries", metric.WithDescription("What was tried again."))
	registrations, err := meter.Int64ObservableGauge("registry.registrations", metric.WithDescription("Registrations, by whether the registry confirms them."))
	errs[6] = err
	instances, err := meter.Int64ObservableGauge("registry.instances", metric.WithDescription("Instances of a service that is watched."))
	errs[7] = err
	age, err := meter.Float64ObservableGauge("registry.snapshot.age", metric.WithUnit("s"),
		metric.WithDescription("How long ago the set of a service that is watched was last confirmed; 0 while it is; without a first set, since it is watched."))
	errs[8] = err
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	_, err = meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		g := m.gauges()
		for k, n := range g.registrations {
			o.ObserveInt64(registrations, n, metric.WithAttributes(service(k.service), attribute.String("state", k.state)))
		}
		for name, n := range g.instances {
			o.ObserveInt64(instances, n, metric.WithAttributes(service(name)))
		}
		for name, d := range g.age {
			o.ObserveFloat64(age, d.Seconds(), metric.WithAttributes(service(name)))
		}
		return nil
	}, registrations, instances, age)
	return m, err
}

func service(name string) attribute.KeyValue { return attribute.String("service", name) }

// attr returns the attribute of a service.
func (m *Meter) attr(name string) attribute.KeyValue {
	m.mu.Lock()
	defer m.mu.Unlock()
	return service(m.label(name))
}

// label bounds the services. m.mu is held.
func (m *Meter) label(name string) string {
	if !m.known[name] {
		if len(m.known) >= m.max {
			return Others
		}
		m.known[name] = true
	}
	return name
}

// Observe counts an event. It is for [registry.Options].Observe.
func (m *Meter) Observe(ev registry.Event) {
	ctx := context.Background()
	cause := attribute.String("error.type", kind(ev.Err))
	switch ev.Kind {
	case registry.SessionOpened:
		m.sessions.Add(ctx, 1)
	case registry.SessionOver:
		m.sessions.Add(ctx, -1)
		if !errors.Is(ev.Err, registry.ErrClosed) {
			m.sessionsLost.Add(ctx, 1, metric.WithAttributes(cause))
		}
	case registry.RecordWritten:
		m.written.Add(ctx, 1, metric.WithAttributes(m.attr(ev.Service)))
	case registry.RecordLost:
		m.lost.Add(ctx, 1, metric.WithAttributes(m.attr(ev.Service), cause))
	case registry.Retrying:
		m.retries.Add(ctx, 1, metric.WithAttributes(attribute.String("op", ev.Op), cause))
	}
}

// kind is what an attribute says of an error.
func kind(err error) string {
	for _, k := range []struct {
		err  error
		name string
	}{
		{registry.ErrClosed, "closed"},
		{registry.ErrInvalid, "invalid"},
		{registry.ErrDenied, "denied"},
		{registry.ErrTooLarge, "too_large"},
		{registry.ErrSuperseded, "superseded"},
		{registry.ErrSessionLost, "session_lost"},
		{context.Canceled, "canceled"},
		{context.DeadlineExceeded, "timeout"},
	} {
		if errors.Is(err, k.err) {
			return k.name
		}
	}
	return "other"
}

// called counts a call of op that began at start.
func (m *Meter) called(op string, start time.Time, err error) {
	attrs := []attribute.KeyValue{attribute.String("op", op)}
	if err != nil {
		attrs = append(attrs, attribute.String("error.type", kind(err)))
	}
	m.calls.Record(context.Background(), time.Since(start).Seconds(), metric.WithAttributes(attrs...))
}
