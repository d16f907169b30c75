package otelreg_test

import (
	"context"
	"fmt"
	"slices"

	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/memreg"
	"github.com/go-rollcall/registry/otelreg"
)

func Example() {
	ctx := context.Background()
	reader := sdk.NewManualReader() // a program has an exporter
	m, err := otelreg.New(sdk.NewMeterProvider(sdk.WithReader(reader)), nil)
	if err != nil {
		panic(err)
	}
	reg := m.Registry(registry.New(memreg.NewStore().Conn(), &registry.Options{Observe: m.Observe}))
	defer reg.Close()
	if _, err := reg.Register(ctx, registry.Instance{Service: "go_servers", Addr: "10.0.0.7:8897"}); err != nil {
		panic(err)
	}

	var all metricdata.ResourceMetrics
	if err := reader.Collect(ctx, &all); err != nil {
		panic(err)
	}
	var names []string
	for _, metric := range all.ScopeMetrics[0].Metrics {
		names = append(names, metric.Name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Println(name)
	}
	// Output:
	// registry.call.duration
	// registry.records.written
	// registry.registrations
	// registry.sessions
}
