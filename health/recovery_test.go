package health_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/health"
)

// The error says what the check says now, not what it said first.
func TestSaysWhatTheCheckSaidLast(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.p.set(errors.New("starting up"))
		time.AfterFunc(30*time.Second, func() { w.p.set(errDisk) })
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := w.reg.Register(ctx, in); !errors.Is(err, errDisk) {
			t.Errorf("Register: %v, want %v in it", err, errDisk)
		}
	})
}

// A recovery that the registry refuses says so.
func TestRefusedRecovery(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		r, err := w.reg.Register(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		w.p.set(errDisk)
		time.Sleep(time.Minute)
		w.link.Deny()
		w.p.set(nil)
		time.Sleep(time.Minute)
		if err := r.Err(); !errors.Is(err, registry.ErrDenied) {
			t.Errorf("Err: %v, want ErrDenied in it", err)
		}
		w.link.Allow()
		time.Sleep(time.Minute)
		if w.there(t) == "" || r.Err() != nil {
			t.Errorf("allowed again: there is %q, Err %v", w.there(t), r.Err())
		}
	})
}

// unheard is a Registry whose next Register takes effect, by way of another client, and
// fails.
type unheard struct {
	registry.Registry
	by registry.Registry // nil: it works
}

func (u *unheard) Register(ctx context.Context, in registry.Instance) (registry.Registration, error) {
	if u.by == nil {
		return u.Registry.Register(ctx, in)
	}
	_, err := u.by.Register(ctx, in)
	u.by = nil
	return nil, errors.Join(errors.New("no answer"), err)
}

// A Register that has failed may have left a record of our own, which is no newer
// registration of somebody else.
func TestOwnRecordOfALostAnswer(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		u := &unheard{Registry: registry.New(w.store.Conn(), &registry.Options{Logger: slog.New(slog.DiscardHandler)})}
		reg := health.Registry(u, w.p.check, &health.Options{Logger: slog.New(slog.DiscardHandler)})
		defer reg.Close()
		r, err := reg.Register(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		w.p.set(errDisk)
		time.Sleep(time.Minute)
		u.by = w.other
		w.p.set(nil)
		time.Sleep(time.Minute)
		if w.there(t) == "" || r.Err() != nil {
			t.Errorf("there is %q, Err %v", w.there(t), r.Err())
		}
	})
}
