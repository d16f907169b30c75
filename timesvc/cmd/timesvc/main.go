// Command timesvc tells the time and asks for it, through a registry.
//
//	timesvc serve --registry zk://127.0.0.1:2181 --listen 127.0.0.1:0
//	timesvc get   --registry zk://127.0.0.1:2181
//	timesvc demo
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/spf13/cobra"
)

const (
	exitOK     = 0
	exitFailed = 1 // a request failed, or the server did
	exitUsage  = 2 // the command line cannot be used; nothing was done
)

func main() {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2) // none is lost
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		cancel(fmt.Errorf("signal: %v", <-signals)) // a request, which takes its time
		if s, ok := (<-signals).(syscall.Signal); ok {
			os.Exit(128 + int(s)) // as a shell shows a program that a signal has ended
		}
		os.Exit(exitFailed)
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// A usageError is the user's: it is shown with a pointer to the help.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// errRequests ends get when the summary has said already what failed.
var errRequests = errors.New("requests failed")

// run is the program, and returns its exit status. The end of ctx is the first
// signal.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s := &screen{out: stdout, err: stderr}
	stdout, stderr = s.stdout(), s.stderr()
	p := &program{screen: s, stdout: stdout, log: slog.New(slog.NewTextHandler(stderr, nil))}
	root := p.root()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	if errors.Is(err, errRequests) {
		return exitFailed
	}
	fmt.Fprintf(stderr, "%s: %s\n", cmd.CommandPath(), strings.TrimPrefix(err.Error(), "timesvc: "))
	var usage usageError
	if !p.started || errors.As(err, &usage) || errors.Is(err, registry.ErrInvalid) {
		fmt.Fprintf(stderr, "Try '%s --help'.\n", cmd.CommandPath())
		return exitUsage
	}
	return exitFailed
}

// program is what its commands share.
type program struct {
	screen *screen
	stdout io.Writer
	log    *slog.Logger

	started bool // the command line was read: what fails now is not its fault
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "timesvc",
		Short:         "Tell the time, and ask for it, through a registry",
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("no command given: want serve, get or demo")
		},
		PersistentPreRun: func(cmd *cobra.Command, _ []string) { p.started = cmd.HasParent() },
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(p.serveCmd(), p.getCmd(), p.demoCmd())
	return root
}

const envRegistry = "REGISTRY_URL"

// where are the flags that say which service of which registry is meant. Each
// command has its own: their defaults differ.
type where struct {
	registry, service string
}

func (w *where) add(cmd *cobra.Command, registry, note string) {
	cmd.Flags().StringVar(&w.registry, "registry", registry, "`URL` of the registry, such as zk://h1:2181,h2:2181/root"+note)
	cmd.Flags().StringVar(&w.service, "service", "go_servers", "name of the service")
}

// orEnv takes the registry from the environment if no flag names it.
func (w *where) orEnv() error {
	w.registry = cmp.Or(w.registry, os.Getenv(envRegistry))
	if w.registry == "" {
		return usagef("which registry? Give --registry URL, or set %s", envRegistry)
	}
	return nil
}

// open opens the registry, which the caller closes. The logger names it in
// every line, as the Registry's own lines do.
func (p *program) open(ctx context.Context, w where, ttl time.Duration) (registry.Registry, *slog.Logger, error) {
	reg, err := registry.Open(ctx, w.registry, &registry.Options{TTL: ttl, Logger: p.log})
	if err != nil {
		return nil, nil, err
	}
	return reg, p.log.With("backend", w.registry), nil
}
