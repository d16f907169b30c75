package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/balance"
	"github.com/go-rollcall/registry/timesvc"
	"github.com/spf13/cobra"
)

type getFlags struct {
	where
	requests    int
	interval    time.Duration
	rate        float64
	concurrency int
	timeout     time.Duration
	balance     string
	key, zone   string
	cache       string
	output      string
}

func (p *program) getCmd() *cobra.Command {
	var f getFlags
	cmd := &cobra.Command{
		Use:   "get --registry URL",
		Short: "Ask the servers for the time, again and again",
		Long: `Get finds the servers of a service and asks one of them, which --balance picks, at
each interval. The requests are numbered from 0: number k starts k intervals
after the first, or as soon as fewer than --concurrency are under way if that is
later. A server that gave no answer is left out for a while, and another is asked.

Each answer is shown when it is there; with more than one request at a time that
is not the order of their numbers. As JSON, a line for each says when it started,
who answered, and who was asked and gave no answer. The summary at the
end says how many answers each server gave, and how long they took. Where stderr
is a terminal, a bar there shows how many requests have ended.

How --balance picks:
  random       each server as likely
  round-robin  one after the other
  weighted     in proportion to "weight" in their metadata, 1 where there is none
  p2c          two at random, and of these the one that has less to do
  hash         by --key: whoever asks with the same key gets the same server
  zone         at random among those with --zone as "zone" in their metadata, or
               among all others if there is none

With --cache the servers are remembered from one run to the next, in a file: a run
that begins while the registry is away asks those that were there last. Each
registry needs a directory of its own.

The exit status is 1 if a request failed. SIGTERM or SIGINT ends the requests
and shows the summary of those that were made; a second signal ends the program
at once.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(f.where.orEnv(), f.check(cmd)); err != nil {
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
	cmd.Flags().StringVar(&f.cache, "cache", "", "`directory` in which to remember the servers")
	return cmd
}

func (f *getFlags) addRequests(cmd *cobra.Command, requests int, interval time.Duration) {
	fl := cmd.Flags()
	fl.IntVar(&f.requests, "requests", requests, "how many requests to make")
	fl.DurationVar(&f.interval, "interval", interval, "time from the start of a request to that of the next")
	fl.Float64Var(&f.rate, "rate", 0, "how many requests to start in a second, instead of --interval")
	fl.IntVar(&f.concurrency, "concurrency", 1, "how many requests may be under way at a time")
	fl.DurationVar(&f.timeout, "timeout", 2*time.Second, "time for a request, with all its tries")
	fl.StringVar(&f.balance, "balance", "random", "how to pick a server: random, round-robin, weighted, p2c, hash or zone")
	fl.StringVar(&f.key, "key", "", "what --balance hash goes by")
	fl.StringVar(&f.zone, "zone", "", "the zone that --balance zone prefers")
	fl.StringVar(&f.output, "output", "text", "text or json")
}

// maxRate is more than a client makes, and its interval is more than no time.
const maxRate = 1e6

// check checks the flags of cmd, and turns the rate into an interval.
func (f *getFlags) check(cmd *cobra.Command) error {
	given := cmd.Flags().Changed
	switch {
	case f.requests < 1:
		return usagef("--requests %d: want 1 or more", f.requests)
	case f.interval < 0:
		return usagef("--interval %v: want 0 or more", f.interval)
	case f.concurrency < 1:
		return usagef("--concurrency %d: want 1 or more", f.concurrency)
	case f.timeout <= 0:
		return usagef("--timeout %v: want more than 0", f.timeout)
	case f.output != "text" && f.output != "json":
		return usagef("--output %q: want text or json", f.output)
	case given("rate") && given("interval"):
		return usagef("--rate and --interval both say when requests start: give one of them")
	case given("rate") && !(f.rate >= 1/maxRate && f.rate <= maxRate): // not a number, neither
		return usagef("--rate %v: want a number of requests a second, up to %v", f.rate, maxRate)
	case f.policy() == nil:
		return usagef("--balance %q: want random, round-robin, weighted, p2c, hash or zone", f.balance)
	case f.balance == "zone" && f.zone == "":
		return usagef("--balance zone: which is the zone of this client? Give --zone NAME")
	case f.balance != "zone" && given("zone"):
		return usagef("--zone %q: only --balance zone goes by it", f.zone)
	case f.balance != "hash" && given("key"):
		return usagef("--key %q: only --balance hash goes by it", f.key)
	}
	if given("rate") {
		f.interval = time.Duration(float64(time.Second) / f.rate)
	}
	return nil
}

// policy returns a new one, or nil if there is none of that name.
func (f *getFlags) policy() balance.Policy {
	switch f.balance {
	case "random":
		return balance.Random()
	case "round-robin":
		return balance.RoundRobin()
	case "weighted":
		return balance.Weighted()
	case "p2c":
		return balance.P2C()
	case "hash":
		return balance.Hash()
	case "zone":
		return balance.Zone(f.zone, balance.Random())
	}
	return nil
}

// get makes the requests and reports them, until all are made or ctx ends.
func (p *program) get(ctx context.Context, f getFlags, reg registry.Registry, log *slog.Logger) error {
	client := timesvc.NewClient(reg, f.service, &timesvc.ClientOptions{
		Timeout: f.timeout, Policy: f.policy(), Key: f.key, Cache: f.cache, Logger: log,
	})
	defer client.Close()
	log = log.With("service", f.service)
	out := newReport(p.stdout, f.output == "json")
	p.screen.begin(f.requests)
	defer p.screen.end()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var invalid error
	for r := range f.load(ctx, client) {
		switch {
		case r.err == nil:
			out.answered(r.number, r.start, r.answer)
		case ctx.Err() != nil:
			continue // interrupted, which is neither an answer nor a failure
		case errors.Is(r.err, registry.ErrInvalid):
			invalid = r.err
			stop() // the others would be, too
		default:
			out.failed(r.number, r.start, r.answer, r.err)
			log.Error("request failed", "request", r.number, "err", r.err)
		}
		p.screen.step()
	}
	if invalid != nil {
		return invalid
	}
	p.screen.end()
	if err := out.summary(); err != nil {
		return err
	}
	if out.failures > 0 {
		return errRequests
	}
	return nil
}
