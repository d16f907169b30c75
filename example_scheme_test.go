package registry_test

import (
	"context"
	"fmt"
	"net/url"

	"github.com/go-rollcall/registry"
)

// The package of a backend registers its scheme when it is imported.
func init() {
	registry.RegisterScheme("board", openBoard)
}

// openBoard reads what stands in the URL, and connects to nothing as yet.
func openBoard(_ context.Context, u *url.URL) (registry.Backend, error) {
	servers, err := registry.Servers(u, "1149")
	if err != nil {
		return nil, err
	}
	params, err := registry.Params(u, "corner", "pins")
	if err != nil {
		return nil, err
	}
	fmt.Printf("servers %v, root %q, corner %q\n", servers, u.Path, params.Get("corner"))
	return newBoard(), nil
}

func ExampleRegisterScheme() {
	ctx := context.Background()
	reg, err := registry.Open(ctx, "board://h1,h2:7000/shop?corner=left", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer reg.Close()

	_, err = registry.Open(ctx, "board://h1?colour=red", nil)
	fmt.Println(err)
	// Output:
	// servers [h1:1149 h2:7000], root "/shop", corner "left"
	// registry: open: invalid URL parameter "colour" of board: it takes corner, pins
}
