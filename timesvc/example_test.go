package timesvc_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"

	"github.com/go-rollcall/registry"
	_ "github.com/go-rollcall/registry/memreg"
	"github.com/go-rollcall/registry/timesvc"
)

func Example() {
	ctx := context.Background()
	reg, err := registry.Open(ctx, "mem:", nil) // or zk://127.0.0.1:2181
	if err != nil {
		panic(err)
	}
	defer reg.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}

	server := &timesvc.Server{Registry: reg, Service: "clock", Logger: slog.New(slog.DiscardHandler)}
	serving, stop := context.WithCancel(ctx)
	served := make(chan error)
	go func() { served <- server.Serve(serving, l) }()
	for snap, err := range reg.Watch(ctx, "clock") {
		if err != nil {
			panic(err)
		}
		if len(snap.Instances) > 0 {
			break // announced
		}
	}

	client := timesvc.NewClient(reg, "clock", nil)
	defer client.Close()
	answer, err := client.Get(ctx)
	fmt.Println(strings.HasPrefix(answer.Text, answer.Addr+": "), err)

	stop() // withdraw, drain, return
	fmt.Println(<-served)
	// Output:
	// true <nil>
	// <nil>
}
