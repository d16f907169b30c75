package httpreg_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/httpreg"
	"github.com/go-rollcall/registry/memreg"
)

func ExampleTransport() {
	ctx := context.Background()
	reg := registry.New(memreg.NewStore().Conn(), nil) // or registry.Open(ctx, url, nil)
	defer reg.Close()

	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello from %s", r.Host)
	}))
	defer server.Close()
	if _, err := reg.Register(ctx, registry.Instance{Service: "go_servers", Addr: server.Listener.Addr().String()}); err != nil {
		panic(err)
	}

	transport := httpreg.NewTransport(reg, nil)
	defer transport.Close()
	client := &http.Client{Transport: transport}
	resp, err := client.Get("http://go_servers/path")
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	fmt.Printf("%s %v\n", answer, err)
	// Output: hello from go_servers <nil>
}
