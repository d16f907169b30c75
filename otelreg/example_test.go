package otelreg_test

import (
	"context"
	"fmt"

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
	for _, metric := range all.ScopeMetrics[0].Metrics {
		if g, ok := metric.Data.(metricdata.Gauge[int64]); ok && metric.Name == "registry.registrations" {
			for _, p := range g.DataPoints {
				state, _ := p.Attributes.Value("state")
				fmt.Println(metric.Name, state.AsString(), p.Value)
			}
		}
	}
	// Output: registry.registrations confirmed 1
}
