// Command registryd starts a registry to play with, and ends it:
//
//	go run ./internal/testserver/cmd/registryd zookeeper
//	go run ./internal/testserver/cmd/registryd etcd --cluster
//	go run ./internal/testserver/cmd/registryd consul
//
// It prints the URL of the registry, for --registry of timesvc. Its install
// command builds the servers that the tests need.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-rollcall/registry/internal/testserver"
	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	root := root()
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "registryd: %v\n", err)
		os.Exit(1)
	}
}

func root() *cobra.Command {
	root := &cobra.Command{
		Use:           "registryd",
		Short:         "Start a registry to play with",
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("no command given: want zookeeper, etcd, consul or install")
		},
	}
	root.CompletionOptions.DisableDefaultCmd = true
	for _, k := range kinds {
		root.AddCommand(k.command())
	}
	root.AddCommand(installCommand())
	return root
}

// A server is what is started: one server, or a cluster.
type server interface {
	Addr() string
	Stop()
}

// A kind is a kind of registry.
type kind struct {
	name    string
	scheme  string // of the URL
	address string // the variable that names one for the tests that runs already
	build   func(context.Context, io.Writer) error
	one     func() (server, error)
	cluster func() (server, error)
}

var kinds = []kind{
	{"zookeeper", "zk", "REGISTRY_TEST_ZK", nothing, as(testserver.StartZooKeeper), as(testserver.StartZooKeeperCluster)},
	{"etcd", "etcd", "REGISTRY_TEST_ETCD", testserver.BuildEtcd, as(testserver.StartEtcd), as(testserver.StartEtcdCluster)},
	{"consul", "consul", "REGISTRY_TEST_CONSUL", testserver.BuildConsul, as(testserver.StartConsul), as(testserver.StartConsulCluster)},
}

// nothing builds nothing: ZooKeeper is a package of the system's.
func nothing(context.Context, io.Writer) error { return nil }

func as[S server](start func() (S, error)) func() (server, error) {
	return func() (server, error) { return start() }
}

func (k kind) command() *cobra.Command {
	var cluster bool
	cmd := &cobra.Command{
		Use:   k.name,
		Short: "Start " + k.name + ", print its URL, and end it with Ctrl-C or SIGTERM",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			start := k.one
			if cluster {
				start = k.cluster
			}
			return k.serve(cmd.Context(), start, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().BoolVar(&cluster, "cluster", false, "three servers that are one registry")
	return cmd
}

// serve runs a registry until ctx ends.
func (k kind) serve(ctx context.Context, start func() (server, error), stdout, stderr io.Writer) error {
	if err := k.build(ctx, stderr); err != nil {
		return err
	}
	s, err := start()
	if err != nil && ctx.Err() != nil {
		return errors.New("ended before it served") // the servers hear of a Ctrl-C, too
	}
	if err != nil {
		return err
	}
	defer s.Stop()
	if ctx.Err() != nil {
		return nil
	}
	fmt.Fprintf(stderr, "The registry serves until Ctrl-C, and forgets everything then. Its URL, for --registry:\n")
	fmt.Fprintf(stdout, "%s://%s\n", k.scheme, s.Addr())
	<-ctx.Done()
	return nil
}

func installCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "install",
		Short: "Build the servers that the tests need and this machine lacks",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, k := range kinds {
				if os.Getenv(k.address) != "" {
					continue // the tests use that one
				}
				if err := k.build(cmd.Context(), cmd.ErrOrStderr()); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
