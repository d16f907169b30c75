package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/timesvc"
	"github.com/spf13/cobra"
)

type serveFlags struct {
	where
	listen    []string
	advertise string
	ttl       time.Duration
	drain     time.Duration
}

func (p *program) serveCmd() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve --registry URL --listen ADDR [--listen ADDR ...]",
		Short: "Tell the time on one or more addresses",
		Long: `Serve tells the time on each address that it listens on, and announces each in
the registry as an instance of its own.

SIGTERM or SIGINT withdraws them, goes on answering for the time of --drain,
finishes what is open and exits with status 0. A second signal ends the program
at once.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(f.where.orEnv(), f.check()); err != nil {
				return err
			}
			return p.serve(cmd.Context(), f)
		},
	}
	f.where.add(cmd, "", " (default $"+envRegistry+")")
	fl := cmd.Flags()
	fl.StringArrayVar(&f.listen, "listen", nil, "address to listen on, host:port; port 0 picks a free one; may be repeated")
	fl.StringVar(&f.advertise, "advertise", "", "address that clients are told, host:port (default: the real one)")
	fl.DurationVar(&f.ttl, "ttl", 10*time.Second, "how long the registry keeps a server that is silent")
	fl.DurationVar(&f.drain, "drain", time.Second, "how long to go on answering after the withdrawal")
	return cmd
}

func (f *serveFlags) check() error {
	switch {
	case len(f.listen) == 0:
		return usagef("on which address? Give --listen host:port, such as 127.0.0.1:0")
	case f.advertise != "" && len(f.listen) > 1:
		return usagef("--advertise names one address, and there are %d to listen on: run a server for each", len(f.listen))
	case f.ttl <= 0:
		return usagef("--ttl %v: want more than 0", f.ttl)
	case f.drain < 0:
		return usagef("--drain %v: want 0 or more", f.drain)
	}
	for _, addr := range f.listen {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return usagef("--listen %q: want host:port, such as 127.0.0.1:0", addr)
		}
	}
	return nil
}

func (p *program) serve(ctx context.Context, f serveFlags) error {
	reg, log, err := p.open(ctx, f.where, f.ttl)
	if err != nil {
		return err
	}
	defer closeRegistry(reg, log)
	listeners, err := listenAll(f.listen)
	if err != nil {
		return err
	}
	return serveAll(ctx, listeners, func() *timesvc.Server {
		return &timesvc.Server{Registry: reg, Service: f.service, Advertise: f.advertise, Drain: drain(f.drain), Logger: log}
	})
}

// drain translates the flag for [timesvc.Server], to which 0 is the default.
func drain(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

// listenAll listens on all of addrs or on none: half of what was asked for
// must not come to be announced.
func listenAll(addrs []string) ([]net.Listener, error) {
	var ls []net.Listener
	for _, addr := range addrs {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			for _, l := range ls {
				l.Close()
			}
			return nil, fmt.Errorf("cannot serve: %w", err)
		}
		ls = append(ls, l)
	}
	return ls, nil
}

// serveAll runs a server on each listener until ctx ends. If one fails, all
// stop. It returns what failed.
func serveAll(ctx context.Context, ls []net.Listener, newServer func() *timesvc.Server) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(ls))
	var wg sync.WaitGroup
	for i, l := range ls {
		wg.Go(func() {
			if errs[i] = newServer().Serve(ctx, l); errs[i] != nil {
				cancel()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func closeRegistry(reg registry.Registry, log *slog.Logger) {
	if err := reg.Close(); err != nil {
		log.Warn("registry closed without its confirmation", "err", err)
	}
}
