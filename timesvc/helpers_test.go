package timesvc_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/internal/pipenet"
	"github.com/go-rollcall/registry/memreg"
	"github.com/go-rollcall/registry/timesvc"
)

const service = "go_servers"

// A world is a registry and a network in one bubble, and what runs there.
type world struct {
	pipenet.Net
	t     *testing.T
	store *memreg.Store
	log   logBuffer
}

// bubble runs f in a bubble, in which every Registry opened by it is closed and
// every goroutine must end.
func bubble(t *testing.T, f func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		f(t, &world{t: t, store: memreg.NewStore()})
	})
}

func (w *world) registry() (registry.Registry, *memreg.Conn) {
	conn := w.store.Conn()
	reg := registry.New(conn, &registry.Options{TTL: 10 * time.Second, Logger: slog.New(slog.DiscardHandler)})
	w.t.Cleanup(func() { reg.Close() })
	return reg, conn
}

// A running server.
type running struct {
	*timesvc.Server
	l    *pipenet.Listener
	conn *memreg.Conn
	stop context.CancelFunc
	done chan error
}

// serve starts a server on addr, changed by change, and returns when all is
// quiet: when it was announced, unless something is in its way.
func (w *world) serve(addr string, change func(*running)) *running {
	reg, conn := w.registry()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{
		Server: &timesvc.Server{Registry: reg, Service: service, Logger: slog.New(slog.NewTextHandler(&w.log, nil))},
		l:      w.Listen(addr), conn: conn, stop: cancel, done: make(chan error, 1),
	}
	if change != nil {
		change(r)
	}
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		r.done <- r.Serve(ctx, r.l)
	}()
	w.t.Cleanup(func() { cancel(); <-finished })
	synctest.Wait()
	return r
}

func (w *world) client(opts timesvc.ClientOptions) (*timesvc.Client, *memreg.Conn) {
	reg, conn := w.registry()
	if opts.Dial == nil {
		opts.Dial = w.Dial
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.NewTextHandler(w.t.Output(), nil))
	}
	c := timesvc.NewClient(reg, service, &opts)
	w.t.Cleanup(func() { c.Close() })
	return c, conn
}

// announced returns the addresses that the registry has now.
func (w *world) announced() string {
	reg, _ := w.registry()
	ins, err := reg.Lookup(w.t.Context(), service)
	if err != nil {
		w.t.Fatal(err)
	}
	var addrs []string
	for _, in := range ins {
		addrs = append(addrs, in.Addr)
	}
	return fmt.Sprint(addrs)
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) has(s string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.b.String(), s)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
