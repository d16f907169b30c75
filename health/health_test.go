package health_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/conformance"
	"github.com/go-rollcall/registry/health"
	"github.com/go-rollcall/registry/internal/memsuite"
	"github.com/go-rollcall/registry/memreg"
)

// A program whose health a test decides.
type program struct {
	mu  sync.Mutex
	err error
	n   int // checks
}

func (p *program) set(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

func (p *program) checks() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n
}

func (p *program) check(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n++
	return p.err
}

type logs struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

var (
	errDisk = errors.New("the disk is full")
	in      = registry.Instance{Service: "svc", ID: "one", Addr: "h:1", Meta: map[string]string{"v": "1"}}
)

// A world has a registry, and another client that sees what is there.
type world struct {
	store *memreg.Store
	link  *memreg.Conn
	p     program
	log   logs
	reg   registry.Registry
	other registry.Registry
}

func bubble(t *testing.T, f func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		quiet := &registry.Options{Logger: slog.New(slog.DiscardHandler)}
		w := &world{store: memreg.NewStore()}
		w.link = w.store.Conn()
		w.reg = health.Registry(registry.New(w.link, quiet), w.p.check, &health.Options{Logger: slog.New(slog.NewTextHandler(&w.log, nil))})
		w.other = registry.New(w.store.Conn(), quiet)
		t.Cleanup(func() { w.other.Close(); w.reg.Close() })
		f(t, w)
	})
}

func (w *world) there(t *testing.T) string {
	t.Helper()
	list, err := w.other.Lookup(t.Context(), "svc")
	if err != nil {
		t.Fatal(err)
	}
	var s []string
	for _, in := range list {
		s = append(s, fmt.Sprint(in.ID, " ", in.Addr, " ", in.Meta))
	}
	return strings.Join(s, ", ")
}

// A healthy decorator changes nothing: the suite holds.
func TestConformance(t *testing.T) {
	conformance.Run(t, memsuite.Virtual(func(c *memreg.Conn, opts *registry.Options) registry.Registry {
		return health.Registry(registry.New(c, opts), func(context.Context) error { return nil }, nil)
	}))
}

func TestWithdrawnAndBack(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		r, err := w.reg.Register(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		if w.there(t) != "one h:1 map[v:1]" || r.Err() != nil {
			t.Errorf("well: there is %q, Err %v", w.there(t), r.Err())
		}
		w.p.set(errDisk)
		time.Sleep(3*time.Second + 500*time.Millisecond) // one failure, or two
		if w.there(t) == "" {
			t.Error("withdrawn before three failures")
		}
		time.Sleep(3 * time.Second)
		if w.there(t) != "" || !errors.Is(r.Err(), health.ErrUnhealthy) || !errors.Is(r.Err(), errDisk) {
			t.Errorf("unhealthy: there is %q, Err %v", w.there(t), r.Err())
		}
		if err := r.Update(t.Context(), map[string]string{"v": "2"}); !errors.Is(err, health.ErrUnhealthy) {
			t.Errorf("update while it is withdrawn: %v", err)
		}
		if err := r.Update(t.Context(), map[string]string{"v": "\xff"}); !errors.Is(err, registry.ErrInvalid) {
			t.Errorf("invalid update while it is withdrawn: %v", err)
		}
		time.Sleep(time.Hour)
		select {
		case <-r.Done():
			t.Fatal("the registration has ended")
		default:
		}
		w.p.set(nil)
		time.Sleep(5 * time.Second)
		if w.there(t) != "one h:1 map[v:2]" || r.Err() != nil {
			t.Errorf("well again: there is %q, Err %v", w.there(t), r.Err())
		}
		if n := strings.Count(w.log.String(), "\n"); n != 2 ||
			!strings.Contains(w.log.String(), `msg="registry: instance is unhealthy: withdrawn" service=svc instance=one err="the disk is full"`) ||
			!strings.Contains(w.log.String(), `msg="registry: instance is well again: registered" service=svc instance=one after=1h`) {
			t.Errorf("the log has %d lines:\n%s", n, w.log.String())
		}
		if err := r.Deregister(t.Context()); err != nil || w.there(t) != "" {
			t.Errorf("deregister: %v, there is %q", err, w.there(t))
		}
		<-r.Done()
		n := w.p.checks()
		time.Sleep(time.Minute)
		if w.p.checks() != n || !errors.Is(r.Err(), registry.ErrClosed) {
			t.Errorf("%d checks after the end, Err %v", w.p.checks()-n, r.Err())
		}
	})
}

// One failure among successes does nothing, and neither does one success among
// failures.
func TestFlapping(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		if _, err := w.reg.Register(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // checks are at even seconds, changes at odd ones
		for range 20 {
			w.p.set(errDisk)
			time.Sleep(4 * time.Second)
			w.p.set(nil)
			time.Sleep(2 * time.Second)
			if w.there(t) == "" {
				t.Fatal("withdrawn after two failures in a row")
			}
		}
		w.p.set(errDisk)
		time.Sleep(10 * time.Second)
		for range 20 {
			w.p.set(nil)
			time.Sleep(2 * time.Second)
			w.p.set(errDisk)
			time.Sleep(2 * time.Second)
			if w.there(t) != "" {
				t.Fatal("back after one success")
			}
		}
	})
}

func TestUnhealthyFromTheStart(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.p.set(errDisk)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := w.reg.Register(ctx, in)
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errDisk) || w.there(t) != "" {
			t.Errorf("%v; there is %q", err, w.there(t))
		}
		time.AfterFunc(time.Minute, func() { w.p.set(nil) })
		if _, err := w.reg.Register(t.Context(), in); err != nil || w.there(t) == "" {
			t.Errorf("%v; there is %q", err, w.there(t))
		}
	})
}

// A check that does not return is no sign of health.
func TestHangingCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		var mu sync.Mutex
		hangs, running := false, 0
		check := func(context.Context) error {
			mu.Lock()
			h := hangs
			running++
			if running > 1 {
				t.Error("two checks at a time")
			}
			mu.Unlock()
			if h {
				<-hang
			}
			mu.Lock()
			running--
			mu.Unlock()
			return nil
		}
		reg := health.Registry(registry.New(memreg.NewStore().Conn(), nil), check, &health.Options{Logger: slog.New(slog.DiscardHandler)})
		defer reg.Close()
		r, err := reg.Register(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		hangs = true
		mu.Unlock()
		time.Sleep(time.Minute)
		if !errors.Is(r.Err(), health.ErrUnhealthy) {
			t.Errorf("Err %v", r.Err())
		}
		mu.Lock()
		hangs = false
		mu.Unlock()
		close(hang)
		time.Sleep(time.Minute)
		if r.Err() != nil {
			t.Errorf("Err %v", r.Err())
		}
	})
}

// Whoever has come while an instance was withdrawn is newer.
func TestSupersededMeanwhile(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		r, err := w.reg.Register(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		w.p.set(errDisk)
		time.Sleep(10 * time.Second)
		newer := in
		newer.Addr = "h:2"
		if _, err := w.other.Register(t.Context(), newer); err != nil {
			t.Fatal(err)
		}
		w.p.set(nil)
		time.Sleep(10 * time.Second)
		if !errors.Is(r.Err(), registry.ErrSuperseded) || !strings.HasPrefix(w.there(t), "one h:2") {
			t.Errorf("Err %v, there is %q", r.Err(), w.there(t))
		}
		select {
		case <-r.Done():
		default:
			t.Error("not done")
		}
	})
}

// The registry is away when the instance gets well, or ill.
func TestOutage(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		r, err := w.reg.Register(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		w.link.Cut()
		w.p.set(errDisk)
		time.Sleep(time.Minute)
		w.link.Heal()
		time.Sleep(time.Minute)
		if w.there(t) != "" || !errors.Is(r.Err(), health.ErrUnhealthy) {
			t.Errorf("became ill in an outage: there is %q, Err %v", w.there(t), r.Err())
		}
		w.link.Cut()
		w.p.set(nil)
		time.Sleep(time.Minute)
		if r.Err() == nil || errors.Is(r.Err(), health.ErrUnhealthy) {
			t.Errorf("well, and the registry is away: %v", r.Err())
		}
		w.link.Heal()
		time.Sleep(time.Minute)
		if w.there(t) == "" || r.Err() != nil {
			t.Errorf("became well in an outage: there is %q, Err %v", w.there(t), r.Err())
		}
	})
}

// Who has no time to wait for a withdrawal has it made all the same.
func TestDeregisterWithoutTime(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		r, err := w.reg.Register(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := r.Deregister(ctx); err == nil {
			t.Error("a withdrawal is confirmed that nobody waited for")
		}
		<-r.Done()
		time.Sleep(time.Second)
		if w.there(t) != "" {
			t.Errorf("there is %q", w.there(t))
		}
		if err := r.Deregister(t.Context()); err != nil {
			t.Errorf("once more: %v", err)
		}
	})
}
