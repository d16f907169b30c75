package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/timesvc"
	"github.com/spf13/cobra"
)

type getFlags struct {
	where
	requests int
	interval time.Duration
	timeout  time.Duration
	output   string
}

func (p *program) getCmd() *cobra.Command {
	var f getFlags
	cmd := &cobra.Command{
		Use:   "get --registry URL",
		Short: "Ask the servers for the time, again and again",
		Long: `Get finds the servers of a service and asks one of them, picked at random, at
each interval. The requests are numbered from 0: number k starts k intervals
after the first, or when the one before it has ended if that is later.
As JSON, a line for each says when it started, who answered, and who was asked
before that and gave no answer.

The exit status is 1 if a request failed. SIGTERM or SIGINT ends the requests
and shows the summary of those that were made; a second signal ends the program
at once.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(f.where.orEnv(), f.check()); err != nil {
				return err
			}
			reg, log, err := p.open(cmd.Context(), f.where, 0)
			if err != nil {
				return err
			}
			defer closeRegistry(reg, log)
			return p.get(cmd.Context(), f, reg, log)
		},
	}
	f.where.add(cmd, "", " (default $"+envRegistry+")")
	f.addRequests(cmd, 100, time.Second)
	return cmd
}

func (f *getFlags) addRequests(cmd *cobra.Command, requests int, interval time.Duration) {
	fl := cmd.Flags()
	fl.IntVar(&f.requests, "requests", requests, "how many requests to make")
	fl.DurationVar(&f.interval, "interval", interval, "time from the start of a request to that of the next")
	fl.DurationVar(&f.timeout, "timeout", 2*time.Second, "time for a request, with all its tries")
	fl.StringVar(&f.output, "output", "text", "text or json")
}

func (f *getFlags) check() error {
	switch {
	case f.requests < 1:
		return usagef("--requests %d: want 1 or more", f.requests)
	case f.interval < 0:
		return usagef("--interval %v: want 0 or more", f.interval)
	case f.timeout <= 0:
		return usagef("--timeout %v: want more than 0", f.timeout)
	case f.output != "text" && f.output != "json":
		return usagef("--output %q: want text or json", f.output)
	}
	return nil
}

// get makes the requests and reports them, until all are made or ctx ends.
func (p *program) get(ctx context.Context, f getFlags, reg registry.Registry, log *slog.Logger) error {
	client := timesvc.NewClient(reg, f.service, &timesvc.ClientOptions{Timeout: f.timeout})
	defer client.Close()
	log = log.With("service", f.service)
	out := newReport(p.stdout, f.output == "json")
	timer := time.NewTimer(0)
	defer timer.Stop()
	start := time.Now()
	for k := range f.requests {
		timer.Reset(time.Until(start.Add(time.Duration(k) * f.interval)))
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		began := time.Now()
		answer, err := client.Get(ctx)
		switch {
		case err == nil:
			out.answered(k, began, answer)
		case ctx.Err() != nil:
			// Interrupted, which is neither an answer nor a failure.
		case errors.Is(err, registry.ErrInvalid):
			return err // and so would the others be
		default:
			out.failed(k, began, err)
			log.Error("request failed", "request", k, "err", err)
		}
	}
	if err := out.summary(); err != nil {
		return err
	}
	if out.failures > 0 {
		return errRequests
	}
	return nil
}
