package balance_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/balance"
	_ "github.com/go-rollcall/registry/staticreg"
)

// A request that fails goes to another instance, and the one that failed is left out
// for a while.
func Example() {
	ctx := context.Background()
	reg, err := registry.Open(ctx, "static://h1:8897,h2:8897", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer reg.Close()
	view, err := registry.Follow(ctx, reg, "go_servers", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer view.Close()
	b := balance.New(view, balance.P2C(), &balance.Options{Logger: quiet})
	defer b.Close()

	ask := func(addr string) error {
		if addr == "h1:8897" {
			return errors.New("connection refused")
		}
		return nil
	}
	for range 3 {
		var r balance.Request
		for {
			p, err := b.PickFor(ctx, r)
			if err != nil {
				fmt.Println(err) // all were tried
				break
			}
			in := p.Instance()
			err = ask(in.Addr)
			p.Done(err)
			if err == nil {
				fmt.Println(in.Addr)
				break
			}
			r.Tried = append(r.Tried, in.ID)
		}
	}
	// Output:
	// h2:8897
	// h2:8897
	// h2:8897
}
