package registry_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/memreg"
)

// A lagging backend brings all that the registry says in order, and ever later: what it
// says x after began comes growth*x later.
type lagging struct {
	registry.Backend
	began  *atomic.Pointer[time.Time]
	growth int
}

// arrive returns when what the registry says now arrives.
func (b lagging) arrive() time.Time {
	now := time.Now()
	if began := b.began.Load(); began != nil {
		return now.Add(time.Duration(b.growth) * now.Sub(*began))
	}
	return now
}

func (b lagging) Current(ctx context.Context, service, version string) (bool, error) {
	same, err := b.Backend.Current(ctx, service, version)
	if !sleepUntil(ctx, b.arrive()) {
		return false, ctx.Err()
	}
	return same, err
}

func sleepUntil(ctx context.Context, t time.Time) bool {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

func (b lagging) Watch(ctx context.Context, service string, sink registry.Sink) error {
	s := laggingSink{b, sink, make(chan message, 1<<16)}
	var link sync.WaitGroup
	link.Go(func() {
		for said := range s.underWay {
			if sleepUntil(ctx, said.there) {
				said.deliver()
			}
		}
	})
	defer link.Wait()
	defer close(s.underWay)
	return b.Backend.Watch(ctx, service, s)
}

// A laggingSink lets the registry go on to speak while what it has said is under way.
type laggingSink struct {
	lagging
	registry.Sink
	underWay chan message
}

type message struct {
	there   time.Time
	deliver func()
}

func (s laggingSink) Reset(recs []registry.Record, version string) {
	s.underWay <- message{s.arrive(), func() { s.Sink.Reset(recs, version) }}
}

func (s laggingSink) Apply(put []registry.Record, gone []string, version string) {
	s.underWay <- message{s.arrive(), func() { s.Sink.Apply(put, gone, version) }}
}

// TestLinkThatLags: a link that brings all in order, but ever later, has nothing shown as
// confirmed that is older than 5/6 TTL.
func TestLinkThatLags(t *testing.T) {
	const ttl = 6 * time.Second
	for _, growth := range []int{1, 2, 5, 20, 1000} {
		synctest.Test(t, func(t *testing.T) {
			store := memreg.NewStore()
			b := lagging{store.Conn(), new(atomic.Pointer[time.Time]), growth}
			reg := registry.New(b, &registry.Options{TTL: ttl, Logger: quiet.Logger})
			defer reg.Close()
			var busy sync.WaitGroup
			defer busy.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), 5*ttl)
			defer cancel()
			start := time.Now()
			busy.Go(func() {
				for ctx.Err() == nil {
					store.Plant("s", "h:1", fmt.Appendf(nil, `{"addr":"h:1","meta":{"at":"%v"}}`, time.Since(start)))
					time.Sleep(10 * time.Millisecond)
				}
			})
			time.AfterFunc(ttl+ttl/3, func() { b.began.Store(new(time.Now())) })
			var oldest time.Duration
			unconfirmed := 0
			for snap, err := range reg.Watch(ctx, "s") {
				switch {
				case err != nil:
				case snap.Err != nil:
					unconfirmed++
				case len(snap.Instances) > 0:
					at, err := time.ParseDuration(snap.Instances[0].Meta["at"])
					if err != nil {
						t.Fatal(err)
					}
					oldest = max(oldest, time.Since(start)-at)
				}
			}
			if limit := ttl*5/6 + 20*time.Millisecond; oldest > limit {
				t.Errorf("a link on which all comes %d times as late: what was shown as confirmed was up to %v old, want %v at most", growth, oldest, limit)
			}
			if unconfirmed == 0 {
				t.Errorf("a link on which all comes %d times as late was never noticed", growth)
			}
		})
	}
}
