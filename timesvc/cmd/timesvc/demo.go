package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/timesvc"
	"github.com/spf13/cobra"
)

// demoWait bounds the wait for the demo's servers to be found.
const demoWait = 30 * time.Second

func (p *program) demoCmd() *cobra.Command {
	var f getFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run three servers and a client in this process",
		Long: `Demo starts three servers on free ports of this machine and asks them for the
time, in one process and, unless --registry says otherwise, with a registry
inside it. It takes no heed of $` + envRegistry + `, so that no registry that is in use
is filled with demonstrations.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(cmd); err != nil {
				return err
			}
			return p.demo(cmd.Context(), f)
		},
	}
	f.where.add(cmd, "mem:", "")
	f.addRequests(cmd, 30, 100*time.Millisecond)
	return cmd
}

func (p *program) demo(ctx context.Context, f getFlags) error {
	reg, log, err := p.open(ctx, f.where, 0)
	if err != nil {
		return err
	}
	defer closeRegistry(reg, log)
	listeners, err := listenAll([]string{"127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"})
	if err != nil {
		return err
	}
	serving, stop := context.WithCancel(ctx)
	defer stop()
	served := make(chan error, 1)
	found, notFound := context.WithTimeoutCause(ctx, demoWait, fmt.Errorf("the servers were not found within %v", demoWait))
	defer notFound()
	go func() {
		err := serveAll(serving, listeners, func(int) *timesvc.Server {
			return &timesvc.Server{Registry: reg, Service: f.service, Drain: -1, Logger: log}
		})
		notFound() // there is nobody to wait for any more
		served <- err
	}()

	err = awaitAll(found, reg, f.service, listeners)
	if err == nil {
		err = p.get(ctx, f, reg, log)
	}
	stop()
	if failure := <-served; failure != nil {
		return failure // also the reason why the rest has failed
	}
	if ctx.Err() != nil && !errors.Is(err, errRequests) {
		return nil // interrupted, and it has stopped as it should
	}
	return err
}

// awaitAll returns when a watch shows all that listen.
func awaitAll(ctx context.Context, reg registry.Registry, service string, ls []net.Listener) error {
	for snap, err := range reg.Watch(ctx, service) {
		if err != nil {
			return err
		}
		there := map[string]bool{}
		for _, in := range snap.Instances {
			there[in.Addr] = true
		}
		missing := 0
		for _, l := range ls {
			if !there[l.Addr().String()] {
				missing++
			}
		}
		if missing == 0 {
			return nil
		}
	}
	return ctx.Err()
}
