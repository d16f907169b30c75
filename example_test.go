package registry_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/memreg"
)

func ExampleOpen() {
	ctx := context.Background()
	reg, err := registry.Open(ctx, "mem:", nil) // or zk://127.0.0.1:2181, from a flag
	if err != nil {
		fmt.Println(err)
		return
	}
	defer reg.Close()

	_, err = reg.Register(ctx, registry.Instance{Service: "go_servers", Addr: "10.0.0.7:8897"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for snap, err := range reg.Watch(ctx, "go_servers") {
		if err != nil {
			fmt.Println(err)
			return
		}
		for _, in := range snap.Instances {
			fmt.Println(in.Addr)
		}
		break // a program would go on
	}
	// Output: 10.0.0.7:8897
}

func ExampleNew() {
	store := memreg.NewStore()
	reg := registry.New(store.Conn(), &registry.Options{
		TTL:    5 * time.Second, // after a crash the record stays for so long
		Logger: slog.New(slog.DiscardHandler),
	})
	defer reg.Close()
	names, err := reg.Services(context.Background())
	fmt.Println(names, err)
	// Output: [] <nil>
}

func ExampleRegistry_register() {
	ctx := context.Background()
	reg := registry.New(memreg.NewStore().Conn(), nil)
	defer reg.Close()

	me, err := reg.Register(ctx, registry.Instance{
		Service: "go_servers",
		Addr:    "10.0.0.7:8897",
		Meta:    map[string]string{"zone": "a"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("registered:", me.Instance().ID, me.Err()) // the ID is the address by default

	err = me.Update(ctx, map[string]string{"zone": "a", "load": "0.7"})
	fmt.Println("updated:", me.Instance().Meta, err)

	err = me.Deregister(ctx)
	<-me.Done()
	fmt.Println("withdrawn:", errors.Is(me.Err(), registry.ErrClosed), err)
	// Output:
	// registered: 10.0.0.7:8897 <nil>
	// updated: map[load:0.7 zone:a] <nil>
	// withdrawn: true <nil>
}

// A newer registration of the same service and ID takes over, as that of a
// process that was restarted.
func ExampleRegistration() {
	ctx := context.Background()
	store := memreg.NewStore()
	before := registry.New(store.Conn(), &registry.Options{Logger: slog.New(slog.DiscardHandler)})
	after := registry.New(store.Conn(), nil)
	defer before.Close()
	defer after.Close()

	in := registry.Instance{Service: "go_servers", ID: "seven", Addr: "10.0.0.7:8897"}
	old, _ := before.Register(ctx, in)
	in.Addr = "10.0.0.7:8898"
	if _, err := after.Register(ctx, in); err != nil {
		fmt.Println(err)
	}

	<-old.Done()
	fmt.Println(errors.Is(old.Err(), registry.ErrSuperseded))
	list, err := after.Lookup(ctx, "go_servers")
	fmt.Println(len(list), list[0].Addr, err)
	// Output:
	// true
	// 1 10.0.0.7:8898 <nil>
}

func ExampleRegistry_lookup() {
	ctx := context.Background()
	reg := registry.New(memreg.NewStore().Conn(), nil)
	defer reg.Close()
	for _, addr := range []string{"10.0.0.9:8897", "10.0.0.7:8897"} {
		if _, err := reg.Register(ctx, registry.Instance{Service: "go_servers", Addr: addr}); err != nil {
			fmt.Println(err)
		}
	}

	list, err := reg.Lookup(ctx, "go_servers") // sorted by ID
	for _, in := range list {
		fmt.Println(in.Addr)
	}
	fmt.Println(err)

	_, err = reg.Lookup(ctx, "no/such")
	fmt.Println(errors.Is(err, registry.ErrInvalid))
	// Output:
	// 10.0.0.7:8897
	// 10.0.0.9:8897
	// <nil>
	// true
}

func ExampleRegistry_watch() {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	reg := registry.New(memreg.NewStore().Conn(), nil)
	defer reg.Close()

	for snap, err := range reg.Watch(ctx, "go_servers") {
		if err != nil { // the last pair: a watch ends with ctx, or with reg
			fmt.Println(err)
			break
		}
		fmt.Println(len(snap.Instances), "instances")
		switch n := len(snap.Instances); n {
		case 2:
			cancel(errors.New("that is enough"))
		default:
			in := registry.Instance{Service: "go_servers", Addr: fmt.Sprintf("10.0.0.%d:8897", n)}
			if _, err := reg.Register(ctx, in); err != nil {
				fmt.Println(err)
			}
		}
	}
	// Output:
	// 0 instances
	// 1 instances
	// 2 instances
	// registry: watch "go_servers" at memory: that is enough
}

// In an outage a watch goes on showing the last set known to be good: servers
// need not be dead because the registry is. Err says that it is not confirmed.
func ExampleSnapshot() {
	ctx := context.Background()
	store := memreg.NewStore()
	server := registry.New(store.Conn(), nil)
	defer server.Close()
	if _, err := server.Register(ctx, registry.Instance{Service: "go_servers", Addr: "10.0.0.7:8897"}); err != nil {
		fmt.Println(err)
	}

	link := store.Conn()
	client := registry.New(link, &registry.Options{TTL: 200 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	defer client.Close()
	wasOut := false
	for snap, err := range client.Watch(ctx, "go_servers") {
		switch {
		case err != nil:
			fmt.Println(err)
			return
		case snap.Err != nil:
			fmt.Println(len(snap.Instances), "instance, not confirmed")
			wasOut = true
			link.Heal()
		case !wasOut:
			fmt.Println(len(snap.Instances), "instance")
			link.Cut()
		default:
			fmt.Println(len(snap.Instances), "instance, confirmed again")
			return
		}
	}
	// Output:
	// 1 instance
	// 1 instance, not confirmed
	// 1 instance, confirmed again
}
