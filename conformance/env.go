package conformance

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
)

const service = "svc"

// env is what a case runs in.
type env struct {
	*testing.T
	h       Harness
	c       testCase
	open    func(*registry.Options) Client
	n       int     // clients so far
	cluster Cluster // of a case whose faults are those of servers

	mu      sync.Mutex
	longest wait
}

func (e *env) Fatalf(format string, args ...any) {
	e.Helper()
	e.T.Fatalf("promise %d: "+format, append([]any{e.c.promise}, args...)...)
}

func (e *env) Errorf(format string, args ...any) {
	e.Helper()
	e.T.Errorf("promise %d: "+format, append([]any{e.c.promise}, args...)...)
}

// client makes a client with the TTL of the harness, closed when the case ends.
func (e *env) client(with ...func(*registry.Options)) Client {
	e.n++
	opts := &registry.Options{
		TTL:      e.h.TTL,
		NoVerify: !e.c.verify,
		Logger:   e.logger().With("client", e.n),
	}
	for _, f := range with {
		f(opts)
	}
	c := e.open(opts)
	e.Cleanup(func() { e.close(c) })
	return c
}

func (e *env) logger() *slog.Logger { return slog.New(slog.NewTextHandler(e.Output(), nil)) }

func (e *env) close(c Client) {
	if c.Heal != nil {
		c.Heal()
	}
	_ = c.Registry.Close()
	if c.Release != nil {
		c.Release()
	}
}

// long is for cases in which nothing may depend on a session's end.
func (e *env) long(o *registry.Options) { o.TTL = 2 * e.h.TTL }

// ctx ends after d, stretched.
func (e *env) ctx(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(e.Context(), d+e.h.Slack)
	e.Cleanup(cancel)
	return ctx
}

// back is the time within which a client is back after its link is.
func (e *env) back() time.Duration { return 3*registry.MaxBackoff/2 + e.h.TTL/3 }

// again is the time within which a client is back when servers have failed.
func (e *env) again() time.Duration { return e.h.Election + e.back() }

func (e *env) register(c Client, id string, meta ...string) registry.Registration {
	e.Helper()
	r, err := c.Registry.Register(e.ctx(e.again()), instance(id, meta...))
	if err != nil {
		e.Fatalf("register %s: %v", id, err)
	}
	return r
}

// instance makes one with metadata in pairs of key and value.
func instance(id string, meta ...string) registry.Instance {
	in := registry.Instance{Service: service, ID: id, Addr: "127.0.0.1:8897"}
	for i := 0; i+1 < len(meta); i += 2 {
		if in.Meta == nil {
			in.Meta = map[string]string{}
		}
		in.Meta[meta[i]] = meta[i+1]
	}
	return in
}

func (e *env) lookup(c Client) string {
	e.Helper()
	list, err := c.Registry.Lookup(e.ctx(e.h.TTL), service)
	if err != nil {
		e.Fatalf("lookup: %v", err)
	}
	return show(list)
}

// show writes a set as "id id{k=v}", in order.
func show(list []registry.Instance) string {
	var words []string
	for _, in := range list {
		word := in.ID
		for i, k := range slices.Sorted(maps.Keys(in.Meta)) {
			word += []string{"{", ","}[min(i, 1)] + k + "=" + in.Meta[k]
		}
		if len(in.Meta) > 0 {
			word += "}"
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// A seen is a snapshot, and when the watcher got it.
type seen struct {
	registry.Snapshot
	at time.Time
}

// A watcher reads a watch, and keeps all that it has seen.
type watcher struct {
	e       *env
	mu      sync.Mutex
	all     []seen
	err     error         // the last of the watch
	changed chan struct{} // closed and made anew at each snapshot
	stop    context.CancelFunc
	stopped chan struct{}
}

// watch starts a watcher, which ends with the case.
func (e *env) watch(c Client) *watcher {
	return e.watchService(c, service)
}

func (e *env) watchService(c Client, service string) *watcher {
	ctx, cancel := context.WithCancel(e.Context())
	w := &watcher{e: e, changed: make(chan struct{}), stop: cancel, stopped: make(chan struct{})}
	go func() {
		defer close(w.stopped)
		for snap, err := range c.Registry.Watch(ctx, service) {
			w.mu.Lock()
			if err != nil {
				w.err = err
			} else {
				w.all = append(w.all, seen{snap, time.Now()})
			}
			close(w.changed)
			w.changed = make(chan struct{})
			w.mu.Unlock()
		}
	}()
	e.Cleanup(w.end)
	return w
}

// end stops it.
func (w *watcher) end() {
	w.stop()
	<-w.stopped
}

// mark returns how much has been seen, for since.
func (w *watcher) mark() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.all)
}

// since returns what has been seen after mark.
func (w *watcher) since(mark int) []seen {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.all[mark:])
}

// until waits for a newest snapshot that is ok, no longer than d, stretched.
func (w *watcher) until(d time.Duration, want string, ok func(registry.Snapshot) bool) seen {
	w.e.Helper()
	defer w.e.waited(time.Now(), d)
	t := time.NewTimer(d + w.e.h.Slack)
	defer t.Stop()
	for {
		w.mu.Lock()
		last, changed, err := seen{}, w.changed, w.err
		n := len(w.all)
		if n > 0 {
			last = w.all[n-1]
		}
		w.mu.Unlock()
		if n > 0 && ok(last.Snapshot) {
			return last
		}
		if err != nil {
			w.e.Fatalf("want %s; the watch ended: %v", want, err)
		}
		select {
		case <-changed:
		case <-t.C:
			w.e.Fatalf("want %s within %v (and %v of slack); the last of %d snapshots was [%s], err %v", want, d, w.e.h.Slack, n, show(last.Instances), last.Err)
		}
	}
}

// set waits for a set, in the form of show, that is confirmed.
func (w *watcher) set(d time.Duration, want string) seen {
	w.e.Helper()
	return w.until(d, fmt.Sprintf("[%s]", want), func(s registry.Snapshot) bool { return s.Err == nil && show(s.Instances) == want })
}

// quiet reads on for d.
func (w *watcher) quiet(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		w.mu.Lock()
		changed := w.changed
		w.mu.Unlock()
		select {
		case <-changed:
		case <-t.C:
			return
		}
	}
}

// never fails if a snapshot since mark was bad.
func (w *watcher) never(mark int, what string, bad func(registry.Snapshot) bool) {
	w.e.Helper()
	for _, s := range w.since(mark) {
		if bad(s.Snapshot) {
			w.e.Fatalf("%s: a watcher saw [%s], err %v", what, show(s.Instances), s.Err)
		}
	}
}

// neverWithout fails if an ID was absent since mark.
func (w *watcher) neverWithout(mark int, ids ...string) {
	w.e.Helper()
	for _, id := range ids {
		w.never(mark, id+" must not be absent", func(s registry.Snapshot) bool { return !has(s, id) })
	}
}

func has(s registry.Snapshot, id string) bool {
	return slices.ContainsFunc(s.Instances, func(in registry.Instance) bool { return in.ID == id })
}

// eventually polls what no watch tells: the state of a Registration.
func (e *env) eventually(d time.Duration, want string, ok func() bool) {
	e.Helper()
	defer e.waited(time.Now(), d)
	ctx := e.ctx(d)
	tick := time.NewTicker(max(e.h.TTL/200, time.Millisecond))
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			e.Fatalf("want %s within %v", want, d)
		}
	}
}

// start runs f in a goroutine, and returns a function that waits for its error.
func (e *env) start(f func() error) (wait func(d time.Duration) error) {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return func(d time.Duration) error {
		e.Helper()
		defer e.waited(time.Now(), d)
		t := time.NewTimer(d + e.h.Slack)
		defer t.Stop()
		select {
		case err := <-done:
			return err
		case <-t.C:
			e.Fatalf("a call did not return within %v", d)
			return nil
		}
	}
}
