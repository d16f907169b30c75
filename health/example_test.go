package health_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/health"
	"github.com/go-rollcall/registry/memreg"
)

func ExampleRegistry() {
	ctx := context.Background()
	var full atomic.Bool
	check := func(context.Context) error {
		if full.Load() {
			return errors.New("the disk is full")
		}
		return nil
	}
	reg := health.Registry(registry.New(memreg.NewStore().Conn(), nil), check, &health.Options{
		Period: 10 * time.Millisecond,
		Logger: slog.New(slog.DiscardHandler),
	})
	defer reg.Close()

	me, err := reg.Register(ctx, registry.Instance{Service: "go_servers", Addr: "10.0.0.7:8897"})
	if err != nil {
		panic(err)
	}
	full.Store(true)
	for snap := range reg.Watch(ctx, "go_servers") {
		if len(snap.Instances) == 0 {
			break
		}
	}
	fmt.Println("withdrawn:", errors.Is(me.Err(), health.ErrUnhealthy))
	full.Store(false)
	for snap := range reg.Watch(ctx, "go_servers") {
		if len(snap.Instances) == 1 {
			fmt.Println("back:", snap.Instances[0].Addr)
			break
		}
	}
	// Output:
	// withdrawn: true
	// back: 10.0.0.7:8897
}
