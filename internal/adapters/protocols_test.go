package adapters_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/balance"
	"github.com/go-rollcall/registry/grpcreg"
	"github.com/go-rollcall/registry/httpreg"
	"github.com/go-rollcall/registry/netreg"
)

var quiet = &balance.Options{Logger: slog.New(slog.DiscardHandler)}

// overTCP: whoever connects is told the address, and the connection is closed.
var overTCP = protocol{
	name: "tcp",
	serve: func(l net.Listener) (stop, kill func()) {
		var work sync.WaitGroup
		work.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				work.Go(func() {
					defer c.Close()
					_, _ = io.WriteString(c, l.Addr().String())
				})
			}
		})
		end := func() { _ = l.Close(); work.Wait() }
		return end, end
	},
	client: func(t *testing.T, reg registry.Registry) func(context.Context) (string, error) {
		d := netreg.NewDialer(reg, &netreg.Options{Balance: quiet})
		t.Cleanup(func() { _ = d.Close() })
		return func(ctx context.Context) (string, error) {
			for {
				c, err := d.DialContext(ctx, "tcp", service)
				if err != nil {
					return "", err
				}
				who, err := io.ReadAll(c)
				_ = c.Close()
				if err == nil && len(who) > 0 {
					return string(who), nil
				}
				// The listener was closed with the connection in its queue: that is
				// after the dial, and so for the protocol to repeat.
				if ctx.Err() != nil {
					return "", errors.Join(ctx.Err(), err)
				}
			}
		}
	},
}

var overHTTP = protocol{
	name: "http",
	serve: func(l net.Listener) (stop, kill func()) {
		s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, l.Addr().String())
		})}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = s.Serve(l)
		}()
		return func() { _ = s.Shutdown(context.Background()); <-ended }, func() { _ = s.Close(); <-ended }
	},
	client: func(t *testing.T, reg registry.Registry) func(context.Context) (string, error) {
		tr := httpreg.NewTransport(reg, &httpreg.Options{Balance: quiet})
		t.Cleanup(func() { _ = tr.Close() })
		client := &http.Client{Transport: tr}
		return func(ctx context.Context) (string, error) {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+service+"/who", http.NoBody)
			if err != nil {
				return "", err
			}
			resp, err := client.Do(req)
			if err != nil {
				return "", err
			}
			defer resp.Body.Close()
			who, err := io.ReadAll(resp.Body)
			if resp.StatusCode != http.StatusOK {
				err = errors.Join(err, fmt.Errorf("status %s", resp.Status))
			}
			return string(who), err
		}
	},
}

// serviceConfig is what a client of ours would have: gRPC repeats a call that a server
// has not finished only where it is told to.
const serviceConfig = `{
	"loadBalancingConfig": [{"round_robin": {}}],
	"methodConfig": [{
		"name": [{}],
		"retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.05s", "maxBackoff": "0.5s", "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}
	}]
}`

var overGRPC = protocol{
	name: "grpc",
	serve: func(l net.Listener) (stop, kill func()) {
		s := grpc.NewServer()
		grpc_health_v1.RegisterHealthServer(s, serving{})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = s.Serve(l)
		}()
		return func() { s.GracefulStop(); <-ended }, func() { s.Stop(); <-ended }
	},
	client: func(t *testing.T, reg registry.Registry) func(context.Context) (string, error) {
		conn, err := grpc.NewClient("registry:///"+service, grpc.WithResolvers(grpcreg.Builder(reg, nil)),
			grpc.WithDefaultServiceConfig(serviceConfig), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		client := grpc_health_v1.NewHealthClient(conn)
		return func(ctx context.Context) (string, error) {
			var who peer.Peer
			resp, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.Peer(&who))
			if err != nil {
				return "", err
			}
			if resp.Status != grpc_health_v1.HealthCheckResponse_SERVING {
				return "", errors.New(strings.ToLower(resp.Status.String()))
			}
			return who.Addr.String(), nil
		}
	},
}

// serving is a gRPC service that needs no generated code of ours.
type serving struct {
	grpc_health_v1.UnimplementedHealthServer
}

func (serving) Check(context.Context, *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}, nil
}
