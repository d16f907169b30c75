package grpcreg_test

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/grpcreg"
	"github.com/go-rollcall/registry/memreg"
)

// A connection that gRPC took for idle serves calls in an outage of the registry.
func TestIdleConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	go func() { _ = server.Serve(l) }()
	defer server.Stop()
	store := memreg.NewStore()
	store.Plant("svc", l.Addr().String(), nil)
	link := store.Conn()
	reg := registry.New(link, &registry.Options{Logger: slog.New(slog.DiscardHandler)})
	defer reg.Close()
	conn, err := grpc.NewClient("registry:///svc", grpc.WithResolvers(grpcreg.Builder(reg, nil)),
		grpc.WithIdleTimeout(50*time.Millisecond), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for range 2 {
		if _, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{}); err != nil {
			t.Fatal(err)
		}
		for s := conn.GetState(); s != connectivity.Idle; s = conn.GetState() {
			if !conn.WaitForStateChange(ctx, s) {
				t.Fatalf("the connection stays %v", s)
			}
		}
		link.Cut()
	}
}
