package registry_test

import (
	"context"
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
