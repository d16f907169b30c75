package netreg_test

import (
	"context"
	"fmt"
	"io"
	"net"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/memreg"
	"github.com/go-rollcall/registry/netreg"
)

func ExampleDialer() {
	ctx := context.Background()
	reg := registry.New(memreg.NewStore().Conn(), nil) // or registry.Open(ctx, url, nil)
	defer reg.Close()

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer l.Close()
	go func() { // a server of something
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "hello")
			conn.Close()
		}
	}()
	if _, err := reg.Register(ctx, registry.Instance{Service: "go_servers", Addr: l.Addr().String()}); err != nil {
		panic(err)
	}

	d := netreg.NewDialer(reg, nil)
	defer d.Close()
	conn, err := d.DialContext(ctx, "tcp", "go_servers") // instead of net.Dialer's, with host:port
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	answer, err := io.ReadAll(conn)
	fmt.Printf("%s %v\n", answer, err)
	// Output: hello <nil>
}
