package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/timesvc"
	"github.com/spf13/cobra"
)

type serveFlags struct {
	where
	listen    []string
	http      string
	advertise string
	meta      []string
	ttl       time.Duration
	drain     time.Duration
}

func (p *program) serveCmd() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve --registry URL --listen ADDR [--listen ADDR ...] [--http ADDR]",
		Short: "Tell the time on one or more addresses",
		Long: `Serve tells the time on each address that it listens on, and announces each in
the registry as an instance of its own, with the metadata that --meta says.

With --http it tells the same time over HTTP, at /. As clients of the one do not
speak the other, that is a service of its own, which is called like the first with
_http after it: go_servers_http. Its /healthz answers with status 200, and with 503
once the server is told to stop.

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
	fl.StringVar(&f.http, "http", "", "address to tell the time on over HTTP, host:port")
	fl.StringArrayVar(&f.meta, "meta", nil, "metadata, `key=value`, such as zone=a or weight=2; may be repeated")
	fl.StringVar(&f.advertise, "advertise", "", "address that clients are told, host:port (default: the real one)")
	fl.DurationVar(&f.ttl, "ttl", 10*time.Second, "how long the registry keeps a server that is silent")
	fl.DurationVar(&f.drain, "drain", time.Second, "how long to go on answering after the withdrawal")
	return cmd
}

func (f *serveFlags) check() error {
	switch {
	case len(f.addrs()) == 0:
		return usagef("on which address? Give --listen host:port, such as 127.0.0.1:0, or --http host:port")
	case f.advertise != "" && len(f.addrs()) > 1:
		return usagef("--advertise names one address, and there are %d to listen on: run a server for each", len(f.addrs()))
	case f.ttl <= 0:
		return usagef("--ttl %v: want more than 0", f.ttl)
	case f.drain < 0:
		return usagef("--drain %v: want 0 or more", f.drain)
	}
	for _, addr := range f.listen {
		if !listenable(addr) {
			return usagef("--listen %q: want host:port, such as 127.0.0.1:0", addr)
		}
	}
	if f.http != "" && !listenable(f.http) {
		return usagef("--http %q: want host:port, such as 127.0.0.1:0", f.http)
	}
	if f.http != "" && (registry.Instance{Service: f.httpService(), Addr: "any:1"}).Validate() != nil {
		return usagef("invalid service %q: its name, or that with _http after it, is too long or has characters that no name has", f.service)
	}
	_, err := f.metadata()
	return err
}

// listenable reports whether addr is a host and a port, a name of one included.
func listenable(addr string) bool {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	return err == nil
}

func (f *serveFlags) httpService() string { return f.service + "_http" }

// addrs are all addresses to listen on: the last one is that for HTTP, if there is one.
func (f *serveFlags) addrs() []string {
	if f.http == "" {
		return f.listen
	}
	return append(slices.Clip(f.listen), f.http)
}

// metadata reads --meta, and refuses what the registry would.
func (f *serveFlags) metadata() (map[string]string, error) {
	meta := map[string]string{}
	for _, pair := range f.meta {
		k, v, ok := strings.Cut(pair, "=")
		if _, twice := meta[k]; twice {
			return nil, usagef("--meta %s: the key is given twice", pair)
		}
		if !ok || k == "" {
			return nil, usagef("--meta %q: want key=value", pair)
		}
		meta[k] = v
	}
	err := registry.Instance{Service: "any", Addr: "any:1", Meta: meta}.Validate()
	var e *registry.Error
	if errors.As(err, &e) {
		return nil, usagef("--meta: %w", e.Err) // whose else it is has nothing to do with it
	}
	return meta, nil
}

func (p *program) serve(ctx context.Context, f serveFlags) error {
	meta, err := f.metadata()
	if err != nil {
		return err
	}
	reg, log, err := p.open(ctx, f.where, f.ttl)
	if err != nil {
		return err
	}
	defer closeRegistry(reg, log)
	listeners, err := listenAll(f.addrs())
	if err != nil {
		return err
	}
	return serveAll(ctx, listeners, func(i int) *timesvc.Server {
		s := &timesvc.Server{Registry: reg, Service: f.service, Meta: meta, Advertise: f.advertise, Drain: drain(f.drain), Logger: log}
		if i == len(f.listen) {
			s.HTTP, s.Service = true, f.httpService()
		}
		return s
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
			return nil, fmt.Errorf("cannot serve: %w; choose another --listen or --http (port 0 is a free one)", err)
		}
		ls = append(ls, l)
	}
	return ls, nil
}

// serveAll runs a server on each listener, by its index, until ctx ends. If one fails,
// all stop. It returns what failed.
func serveAll(ctx context.Context, ls []net.Listener, newServer func(int) *timesvc.Server) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(ls))
	var wg sync.WaitGroup
	for i, l := range ls {
		wg.Go(func() {
			if errs[i] = newServer(i).Serve(ctx, l); errs[i] != nil {
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
