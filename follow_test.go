package registry_test

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/memreg"
)

var quietly = &registry.FollowOptions{Logger: slog.New(slog.DiscardHandler)}

// following starts a view of "svc", and ends it with the test.
func following(t *testing.T, reg registry.Registry, opts *registry.FollowOptions) *registry.View {
	t.Helper()
	v, err := registry.Follow(context.Background(), reg, "svc", opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

// until waits for a snapshot that is ok.
func until(v *registry.View, ok func(registry.Snapshot) bool) registry.Snapshot {
	for {
		changed := v.Changed()
		if snap := v.Snapshot(); ok(snap) {
			return snap
		}
		<-changed
	}
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memreg.NewStore()
		link := store.Conn()
		reg := registry.New(link, quiet)
		defer reg.Close()
		link.Freeze()
		v := following(t, reg, quietly)
		if snap := v.Snapshot(); snap.Err == nil || !snap.Confirmed.IsZero() || v.Age() != 0 {
			t.Errorf("before the first set: %+v, age %v", snap, v.Age())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := v.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "does not answer") {
			t.Errorf("Wait: %v; want the deadline, and what the registry was waited for", err)
		}
		link.Heal()
		if err := v.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		if snap := v.Snapshot(); snap.Err != nil || len(snap.Instances) > 0 {
			t.Errorf("of a service that nobody registered: %+v", snap)
		}
		store.Plant("svc", "h:1", nil)
		until(v, func(s registry.Snapshot) bool { return len(s.Instances) == 1 })
		time.Sleep(time.Hour)
		if age := v.Age(); age != 0 {
			t.Errorf("a set that is confirmed is %v old", age)
		}
		link.Cut()
		until(v, func(s registry.Snapshot) bool { return s.Err != nil })
		time.Sleep(time.Hour)
		if age := v.Age(); age < time.Hour || age > time.Hour+15*time.Second || len(v.Snapshot().Instances) != 1 {
			t.Errorf("an hour of outage: %+v is %v old", v.Snapshot(), age)
		}
		link.Heal()
		until(v, func(s registry.Snapshot) bool { return s.Err == nil })
		time.Sleep(time.Hour)
		v.Close()
		if snap := v.Snapshot(); !errors.Is(snap.Err, registry.ErrClosed) || len(snap.Instances) != 1 || v.Age() != 0 {
			t.Errorf("closed: %+v, %v old", snap, v.Age())
		}
	})
}

// A View ends with its ctx and with the Registry, and says so to who waits.
func TestFollowEnds(t *testing.T) {
	gone := errors.New("no longer wanted")
	for _, tt := range []struct {
		name string
		want error
		end  func(context.CancelCauseFunc, registry.Registry, *registry.View)
	}{
		{"view", registry.ErrClosed, func(_ context.CancelCauseFunc, _ registry.Registry, v *registry.View) { v.Close() }},
		{"registry", registry.ErrClosed, func(_ context.CancelCauseFunc, reg registry.Registry, _ *registry.View) { _ = reg.Close() }},
		{"context", gone, func(end context.CancelCauseFunc, _ registry.Registry, _ *registry.View) { end(gone) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				link := memreg.NewStore().Conn()
				reg := registry.New(link, quiet)
				defer reg.Close()
				link.Cut()
				ctx, end := context.WithCancelCause(t.Context())
				defer end(nil)
				v, err := registry.Follow(ctx, reg, "svc", quietly)
				if err != nil {
					t.Fatal(err)
				}
				defer v.Close()
				changed, waited := v.Changed(), make(chan error)
				go func() { waited <- v.Wait(t.Context()) }()
				synctest.Wait()
				tt.end(end, reg, v)
				if err := <-waited; !errors.Is(err, tt.want) {
					t.Errorf("Wait: %v, want %v", err, tt.want)
				}
				<-changed
				if err := v.Snapshot().Err; !errors.Is(err, tt.want) {
					t.Errorf("Snapshot.Err is %v, want %v", err, tt.want)
				}
				if err := v.Wait(t.Context()); !errors.Is(err, tt.want) {
					t.Errorf("Wait afterwards: %v, want %v", err, tt.want)
				}
				changed = v.Changed()
				time.Sleep(time.Minute)
				select {
				case <-changed:
					t.Errorf("it has ended, and goes on: %v", v.Snapshot().Err)
				default:
				}
			})
		})
	}
}

// A refusal before the first set is told to those who wait, at once; it is tried again,
// but not more often for their asking.
func TestFollowRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := memreg.NewStore().Conn()
		reg := registry.New(link, quiet)
		defer reg.Close()
		link.Deny()
		v := following(t, reg, quietly)
		synctest.Wait()
		before := link.Requests()
		for range 1000 {
			if err := v.Wait(t.Context()); !errors.Is(err, registry.ErrDenied) {
				t.Fatalf("Wait: %v, want ErrDenied", err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if n := link.Requests() - before; n == 0 || n > 5 {
			t.Errorf("%d requests in 10 s of being refused", n)
		}
		link.Allow()
		until(v, func(s registry.Snapshot) bool { return s.Err == nil })
		if err := v.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestFollowBadName(t *testing.T) {
	reg := registry.New(memreg.NewStore().Conn(), quiet)
	defer reg.Close()
	if v, err := registry.Follow(t.Context(), reg, "a/b", nil); v != nil || !errors.Is(err, registry.ErrInvalid) {
		t.Errorf("%v, %v; want ErrInvalid", v, err)
	}
}

func TestSnapshotAllocatesNothing(t *testing.T) {
	reg := registry.New(memreg.NewStore().Conn(), quiet)
	defer reg.Close()
	v := following(t, reg, quietly)
	if err := v.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(1000, func() { _ = v.Snapshot(); _ = v.Age() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// ending is a Registry whose watches end after a snapshot, without a word.
type ending struct{ registry.Registry }

func (ending) Watch(_ context.Context, service string) iter.Seq2[registry.Snapshot, error] {
	return func(yield func(registry.Snapshot, error) bool) {
		yield(registry.Snapshot{Confirmed: time.Now()}, nil)
	}
}

// A watch of somebody else's Registry that ends without a reason is given one.
func TestFollowWithoutAReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := following(t, ending{}, quietly)
		time.Sleep(10 * time.Millisecond)
		if err := v.Snapshot().Err; err == nil || !strings.Contains(err.Error(), "without a reason") {
			t.Errorf("Err: %v", err)
		}
	})
}
