package registry_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/memreg"
)

// A lingering backend takes a while to return from Watch, as one may that has
// to tell its server.
type lingering struct {
	registry.Backend
	now, most atomic.Int64
}

func (l *lingering) Watch(ctx context.Context, service string, sink registry.Sink) error {
	l.most.Store(max(l.most.Load(), l.now.Add(1)))
	defer l.now.Add(-1)
	err := l.Backend.Watch(ctx, service, sink)
	time.Sleep(20 * time.Millisecond)
	return err
}

// A Backend is promised that at most one Watch of a service is under way, also
// where one reader leaves and the next comes.
func TestOneWatchAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lingering{Backend: memreg.NewStore().Conn()}
		reg := registry.New(l, quiet)
		defer reg.Close()
		for range 10 {
			for _, err := range reg.Watch(t.Context(), "svc") {
				if err != nil {
					t.Fatal(err)
				}
				break
			}
		}
		if n := l.most.Load(); n != 1 {
			t.Errorf("%d Watches of one service were under way at once", n)
		}
	})
}

// Err says why the set is not confirmed now, and not why it was not at first: a
// refusal needs somebody to act, where an outage does not.
func TestSnapshotErrIsTheNewestCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := memreg.NewStore().Conn()
		reg := registry.New(conn, quiet)
		defer reg.Close()
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Hour, errors.New("an hour has passed"))
		defer cancel()
		snapshots := 0
		for snap, err := range reg.Watch(ctx, "svc") {
			switch snapshots++; {
			case err != nil:
				t.Fatalf("denied after an outage: no snapshot says so: %v", err)
			case snapshots == 1:
				conn.Cut()
			case snapshots == 2 && snap.Err != nil:
				conn.Deny()
				conn.Heal()
			case errors.Is(snap.Err, registry.ErrDenied):
				return
			default:
				t.Fatalf("snapshot %d: %v; want ErrDenied", snapshots, snap.Err)
			}
		}
	})
}

// A changeable backend ends its watches, once it is broken, with another error from time to
// time.
type changeable struct {
	registry.Backend
	why func() error
}

func (b changeable) Watch(ctx context.Context, service string, sink registry.Sink) error {
	if err := b.why(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_ = b.Backend.Watch(ctx, service, sink)
	return errors.New("the link broke")
}

// What has gone wrong for a TTL is shown as what it is by then.
func TestSnapshotErrIsTheNewestFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		b := changeable{memreg.NewStore().Conn(), func() error {
			if time.Since(began) < time.Second {
				return nil
			}
			return errors.New("no such host")
		}}
		reg := registry.New(b, quiet)
		defer reg.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		for snap, err := range reg.Watch(ctx, "svc") {
			if err != nil {
				t.Fatal(err)
			}
			if snap.Err != nil {
				if !strings.Contains(snap.Err.Error(), "no such host") {
					t.Errorf("after a TTL: %v", snap.Err)
				}
				return
			}
		}
	})
}
