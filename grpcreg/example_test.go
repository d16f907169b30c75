package grpcreg_test

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/grpcreg"
	"github.com/go-rollcall/registry/memreg"
)

func ExampleBuilder() {
	ctx := context.Background()
	reg := registry.New(memreg.NewStore().Conn(), nil) // or registry.Open(ctx, url, nil)
	defer reg.Close()

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	go func() { _ = server.Serve(l) }()
	defer server.Stop()
	if _, err := reg.Register(ctx, registry.Instance{Service: "go_servers", Addr: l.Addr().String()}); err != nil {
		panic(err)
	}

	conn, err := grpc.NewClient("registry:///go_servers",
		grpc.WithResolvers(grpcreg.Builder(reg, nil)),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	fmt.Println(answer.GetStatus(), err)
	// Output: SERVING <nil>
}
