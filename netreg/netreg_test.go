package netreg_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/balance"
	"github.com/go-rollcall/registry/internal/pipenet"
	"github.com/go-rollcall/registry/memreg"
	"github.com/go-rollcall/registry/netreg"
)

// A world is a registry, and a network of pipes that notes what is dialled.
type world struct {
	pipenet.Net
	store *memreg.Store
	link  *memreg.Conn
	d     *netreg.Dialer

	mu      sync.Mutex
	dialled []string
}

func (w *world) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	w.mu.Lock()
	w.dialled = append(w.dialled, addr)
	w.mu.Unlock()
	return w.Net.Dial(ctx, network, addr)
}

// to counts the dials to addr.
func (w *world) to(addr string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.dialled {
		if a == addr {
			n++
		}
	}
	return n
}

func (w *world) accept(t *testing.T, addr string) {
	l := w.Listen(addr)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close() })
}

// pair announces live:1, which answers, and silent:1, which does not.
func (w *world) pair(t *testing.T) {
	for _, addr := range []string{"live:1", "silent:1"} {
		w.store.Plant("svc", addr, nil)
	}
	l := w.Listen("silent:1")
	t.Cleanup(func() { l.Close() })
	w.accept(t, "live:1")
}

func bubble(t *testing.T, f func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{store: memreg.NewStore()}
		w.link = w.store.Conn()
		log := slog.New(slog.DiscardHandler)
		reg := registry.New(w.link, &registry.Options{Logger: log})
		w.d = netreg.NewDialer(reg, &netreg.Options{Dial: w.Dial, Balance: &balance.Options{Logger: log}, Policy: balance.RoundRobin})
		t.Cleanup(func() { w.d.Close(); reg.Close() })
		f(t, w)
	})
}

func TestTriesAnother(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for _, addr := range []string{"dead:1", "silent:1", "live:1", "live:2", "live:3"} {
			w.store.Plant("svc", addr, nil)
		}
		l := w.Listen("silent:1") // where nobody accepts
		defer l.Close()
		for _, addr := range []string{"live:1", "live:2", "live:3"} {
			w.accept(t, addr)
		}
		for range 20 {
			start := time.Now()
			c, err := w.d.DialContext(t.Context(), "tcp", "svc:0")
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
			if d := time.Since(start); d > time.Second {
				t.Errorf("a dial took %v, with one instance that does not answer", d)
			}
		}
		// Those that failed are left out: most dials meet one that lives.
		n := 0
		for _, addr := range w.dialled {
			if !strings.HasPrefix(addr, "live") {
				n++
			}
		}
		if n > 6 || !slices.Contains(w.dialled, "dead:1") || !slices.Contains(w.dialled, "silent:1") {
			t.Errorf("%d dials in vain: %v", n, w.dialled)
		}
	})
}

func TestNobodyAnswers(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for _, addr := range []string{"h:1", "h:2", "h:3"} {
			w.store.Plant("svc", addr, nil)
		}
		_, err := w.d.DialContext(t.Context(), "tcp", "svc")
		if err == nil || len(w.dialled) != 3 || strings.Count(err.Error(), "refused") != 3 || !strings.Contains(err.Error(), `"svc"`) {
			t.Errorf("%v; dialled %v", err, w.dialled)
		}
		if _, err := w.d.DialContext(t.Context(), "tcp", "nobody"); !errors.Is(err, balance.ErrNone) {
			t.Errorf("%v, want ErrNone", err)
		}
		if _, err := w.d.DialContext(t.Context(), "udp", "svc"); !errors.Is(err, registry.ErrInvalid) {
			t.Errorf("%v, want ErrInvalid", err)
		}
	})
}

// The last one left has all the time of the caller, whose end is no instance's fault.
func TestContext(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.store.Plant("svc", "silent:1", nil)
		l := w.Listen("silent:1")
		defer l.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		if _, err := w.d.DialContext(ctx, "tcp", "svc"); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// A deadline that is shorter than TryTimeout leaves time for another instance, and one
// that hangs is left out all the same.
func TestShortDeadline(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.pair(t)
		for range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), 800*time.Millisecond)
			c, err := w.d.DialContext(ctx, "tcp", "svc")
			cancel()
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
		}
		if n := w.to("silent:1"); n != 1 {
			t.Errorf("one that hangs was dialled %d times: %v", n, w.dialled)
		}
	})
}

// A caller who gives up at once says nothing of an instance, one who has waited does.
func TestCutShort(t *testing.T) {
	for _, tt := range []struct {
		patience time.Duration
		dials    int // of 20, those that go to the silent one
	}{{10 * time.Millisecond, 10}, {1100 * time.Millisecond, 1}} {
		bubble(t, func(t *testing.T, w *world) {
			w.pair(t)
			for range 20 {
				ctx, cancel := context.WithCancel(t.Context()) // there is no deadline to plan with
				time.AfterFunc(tt.patience, cancel)
				c, err := w.d.DialContext(ctx, "tcp", "svc")
				cancel()
				if err == nil {
					c.Close()
				} else if !errors.Is(err, context.Canceled) {
					t.Fatal(err)
				}
			}
			if n := w.to("silent:1"); n != tt.dials {
				t.Errorf("given up after %v: one that hangs was dialled %d times, want %d: %v", tt.patience, n, tt.dials, w.dialled)
			}
		})
	}
}

func TestOrdinaryAddresses(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for _, addr := range []string{"db.example:5432", "127.0.0.1:80", "[::1]:0", "127.0.0.1"} {
			_, _ = w.d.DialContext(t.Context(), "tcp", addr)
		}
		if got := strings.Join(w.dialled, " "); got != "db.example:5432 127.0.0.1:80 [::1]:0 127.0.0.1" {
			t.Errorf("dialled %s", got)
		}
	})
}

func TestRegistryAway(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.store.Plant("svc", "live:1", nil)
		w.accept(t, "live:1")
		w.link.Cut()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := w.d.DialContext(ctx, "tcp", "svc"); err == nil || !strings.Contains(err.Error(), "the link is cut") {
			t.Errorf("%v, want why the registry has not answered", err)
		}
		w.link.Heal()
		for range 3600 {
			c, err := w.d.DialContext(t.Context(), "tcp", "svc")
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
			w.link.Cut()
			time.Sleep(time.Second)
		}
		w.d.Close()
		if _, err := w.d.DialContext(t.Context(), "tcp", "svc"); !errors.Is(err, registry.ErrClosed) {
			t.Errorf("%v, want ErrClosed", err)
		}
	})
}

// With a cache, a program that starts while the registry is away dials at once.
func TestBeginsWithCache(t *testing.T) {
	dir := t.TempDir()
	for _, away := range []bool{false, true} {
		bubble(t, func(t *testing.T, w *world) {
			w.accept(t, "live:1")
			if away {
				w.link.Cut()
			} else {
				w.store.Plant("svc", "live:1", nil)
			}
			reg := registry.New(w.link, &registry.Options{Logger: slog.New(slog.DiscardHandler)})
			defer reg.Close()
			d := netreg.NewDialer(reg, &netreg.Options{Dial: w.Dial, Cache: dir, Balance: &balance.Options{Logger: slog.New(slog.DiscardHandler)}})
			defer d.Close() // writes the file
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			start := time.Now()
			c, err := d.DialContext(ctx, "tcp", "svc")
			if err != nil {
				t.Fatalf("the registry is away: %v, and: %v", away, err)
			}
			c.Close()
			if took := time.Since(start); took > 0 {
				t.Errorf("the registry is away: %v, and the dial took %v", away, took)
			}
		})
	}
}

// Without a policy all get their share, however fast they accept: what follows a dial is not
// seen.
func TestShares(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for _, addr := range []string{"far:1", "near:1"} {
			w.store.Plant("svc", addr, nil)
			w.accept(t, addr)
		}
		reg := registry.New(w.link, &registry.Options{Logger: slog.New(slog.DiscardHandler)})
		defer reg.Close()
		d := netreg.NewDialer(reg, &netreg.Options{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			time.Sleep(map[string]time.Duration{"far:1": 10 * time.Millisecond, "near:1": time.Millisecond}[addr])
			return w.Dial(ctx, network, addr)
		}})
		defer d.Close()
		for range 100 {
			c, err := d.DialContext(t.Context(), "tcp", "svc")
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
		}
		if n := w.to("far:1"); n != 50 {
			t.Errorf("of 100 dials %d went to the one that is farther away", n)
		}
	})
}

// The error says which instance it is of, also where the dial function does not.
func TestErrorNamesInstance(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.store.Plant("svc", "h:1", nil)
		reg := registry.New(w.link, &registry.Options{Logger: slog.New(slog.DiscardHandler)})
		defer reg.Close()
		broken := errors.New("the handshake failed")
		d := netreg.NewDialer(reg, &netreg.Options{
			Dial:    func(context.Context, string, string) (net.Conn, error) { return nil, broken },
			Balance: &balance.Options{Logger: slog.New(slog.DiscardHandler)},
		})
		defer d.Close()
		if _, err := d.DialContext(t.Context(), "tcp", "svc"); !errors.Is(err, broken) || !strings.Contains(err.Error(), "h:1: the handshake") {
			t.Errorf("%v, want the instance's address in it", err)
		}
	})
}
