package registry_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/memreg"
)

// A forgetful backend loses every change that its watch brings, but the whole
// set that it begins with.
type forgetful struct{ registry.Backend }

type forgetfulSink struct{ registry.Sink }

func (forgetfulSink) Apply([]registry.Record, []string, string) {}

func (b forgetful) Watch(ctx context.Context, service string, sink registry.Sink) error {
	return b.Backend.Watch(ctx, service, forgetfulSink{sink})
}

// TestMissedChange: a watch that has lost an event shows the truth within a TTL.
func TestMissedChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = 6 * time.Second
		store := memreg.NewStore()
		reg := registry.New(forgetful{store.Conn()}, &registry.Options{TTL: ttl})
		defer reg.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 3*ttl)
		defer cancel()
		var planted time.Time
		for snap, err := range reg.Watch(ctx, "s") {
			switch {
			case err != nil:
				t.Fatalf("the change was never shown: %v", err)
			case snap.Err != nil:
				t.Errorf("the registry answers, and the watch says: %v", snap.Err)
			case planted.IsZero():
				planted = time.Now()
				store.Plant("s", "h:1", nil)
			case len(snap.Instances) == 1:
				if d := time.Since(planted); d > ttl {
					t.Errorf("the change was shown after %v, the TTL is %v", d, ttl)
				}
				return
			}
		}
	})
}

// A slow backend brings each change a little later, and counts the whole sets.
type slow struct {
	registry.Backend
	delay time.Duration
	sets  *atomic.Int32
}

type slowSink struct {
	registry.Sink
	slow
}

func (s slowSink) Reset(recs []registry.Record, version string) {
	s.sets.Add(1)
	s.Sink.Reset(recs, version)
}

func (s slowSink) Apply(put []registry.Record, gone []string, version string) {
	time.Sleep(s.delay)
	s.Sink.Apply(put, gone, version)
}

func (b slow) Watch(ctx context.Context, service string, sink registry.Sink) error {
	return b.Backend.Watch(ctx, service, slowSink{sink, b})
}

// TestBusyService: where there is always a change under way, none is missed, and the
// set is read once.
func TestBusyService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = 6 * time.Second
		store := memreg.NewStore()
		b := slow{store.Conn(), 50 * time.Millisecond, new(atomic.Int32)}
		reg := registry.New(b, &registry.Options{TTL: ttl})
		defer reg.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 20*ttl)
		defer cancel()
		go func() {
			for n := 0; ctx.Err() == nil; n++ {
				store.Plant("s", "h:1", fmt.Appendf(nil, `{"addr":"h:1","meta":{"n":"%d"}}`, n))
				time.Sleep(30 * time.Millisecond)
			}
		}()
		for range reg.Watch(ctx, "s") {
		}
		if n := b.sets.Load(); n != 1 {
			t.Errorf("the whole set was read %d times in 20 TTLs of changes", n)
		}
	})
}
