package health_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/health"
)

// between is a Registry in whose calls something else happens, at the worst moment.
type between struct {
	registry.Registry
	registered func()                  // before Register returns
	updating   func(map[string]string) // before Update does anything
}

type betweenRegistration struct {
	registry.Registration
	b *between
}

func (b *between) Register(ctx context.Context, in registry.Instance) (registry.Registration, error) {
	r, err := b.Registry.Register(ctx, in)
	if err != nil {
		return nil, err
	}
	b.registered()
	return &betweenRegistration{r, b}, nil
}

func (r *betweenRegistration) Update(ctx context.Context, meta map[string]string) error {
	r.b.updating(meta)
	return r.Registration.Update(ctx, meta)
}

// behind has w.reg decorate a Registry in which something happens in between.
func (w *world) behind(t *testing.T) *between {
	quiet := slog.New(slog.DiscardHandler)
	b := &between{Registry: registry.New(w.store.Conn(), &registry.Options{Logger: quiet}), registered: func() {}, updating: func(map[string]string) {}}
	w.reg = health.Registry(b, w.p.check, &health.Options{Logger: quiet})
	t.Cleanup(func() { w.reg.Close() })
	return b
}

// The context of Register ends in the moment in which the Registry has confirmed: what is
// announced is checked, and what is not is gone.
func TestContextEndsWithRegister(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		b := w.behind(t)
		ctx, cancel := context.WithCancel(t.Context())
		b.registered = func() { cancel(); synctest.Wait() }
		r, err := w.reg.Register(ctx, in)
		if err != nil {
			if there := w.there(t); there != "" {
				t.Errorf("%v, and there is %q", err, there)
			}
			return
		}
		if r.Err() != nil || w.there(t) == "" {
			t.Errorf("registered: Err %v, there is %q", r.Err(), w.there(t))
		}
		w.p.set(errDisk)
		time.Sleep(10 * time.Second)
		if there := w.there(t); there != "" || !errors.Is(r.Err(), health.ErrUnhealthy) {
			t.Errorf("unhealthy: Err %v, there is %q", r.Err(), there)
		}
	})
}

// An Update that comes while older metadata is being written is not overwritten by it.
func TestUpdatesWhileComingBack(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		b := w.behind(t)
		r, err := w.reg.Register(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		w.p.set(errDisk)
		time.Sleep(10 * time.Second)
		b.registered = func() { _ = r.Update(context.Background(), map[string]string{"v": "2"}) }
		b.updating = func(meta map[string]string) {
			if meta["v"] == "2" {
				go func() { _ = r.Update(context.Background(), map[string]string{"v": "3"}) }()
				time.Sleep(time.Second)
			}
		}
		w.p.set(nil)
		time.Sleep(time.Minute)
		if there := w.there(t); there != "one h:1 map[v:3]" || r.Instance().Meta["v"] != "3" || r.Err() != nil {
			t.Errorf("there is %q, and Instance says %v, Err %v", there, r.Instance(), r.Err())
		}
	})
}

// Of two Updates, the one that Instance shows is the one that is announced.
func TestUpdatesAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		b := w.behind(t)
		r, err := w.reg.Register(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		b.updating = func(meta map[string]string) {
			if meta["v"] == "2" {
				go func() { _ = r.Update(context.Background(), map[string]string{"v": "3"}) }()
				time.Sleep(time.Second)
			}
		}
		if err := r.Update(t.Context(), map[string]string{"v": "2"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if there := w.there(t); there != "one h:1 map[v:3]" || r.Instance().Meta["v"] != "3" || r.Err() != nil {
			t.Errorf("there is %q, and Instance says %v, Err %v", there, r.Instance(), r.Err())
		}
	})
}

// An Update that is refused in any case does not wait for one that the registry has yet to
// confirm.
func TestRefusedUpdateInAnOutage(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		r, err := w.reg.Register(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		w.link.Cut()
		ctx, cancel := context.WithCancel(t.Context())
		var waiting sync.WaitGroup
		defer waiting.Wait()
		defer cancel()
		waiting.Go(func() { _ = r.Update(ctx, map[string]string{"v": "2"}) })
		synctest.Wait()
		start := time.Now()
		if err := r.Update(t.Context(), map[string]string{"v": "\xff"}); !errors.Is(err, registry.ErrInvalid) {
			t.Errorf("%v, want ErrInvalid", err)
		}
		gone, done := context.WithTimeout(t.Context(), time.Millisecond)
		defer done()
		_ = r.Deregister(gone)
		if err := r.Update(t.Context(), map[string]string{"v": "3"}); !errors.Is(err, registry.ErrClosed) {
			t.Errorf("%v, want ErrClosed", err)
		}
		if d := time.Since(start); d > 50*time.Millisecond {
			t.Errorf("they took %v", d)
		}
	})
}

// A Register that is given up while the program is not well, or the registry away, leaves
// nothing.
func TestRegisterGivenUp(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for _, away := range []bool{false, true} {
			if away {
				w.p.set(nil)
				w.link.Cut()
			} else {
				w.p.set(errDisk)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			start := time.Now()
			if _, err := w.reg.Register(ctx, in); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > time.Minute+50*time.Millisecond {
				t.Errorf("away: %v: %v after %v", away, err, time.Since(start))
			}
			cancel()
			n := w.p.checks()
			time.Sleep(time.Minute)
			if w.p.checks() != n {
				t.Error("it is still checked")
			}
		}
		w.link.Heal()
		time.Sleep(time.Minute)
		if there := w.there(t); there != "" {
			t.Errorf("there is %q", there)
		}
	})
}
