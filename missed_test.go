package registry_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
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

// TestMissedRemoval: that nobody is left is shown within a TTL too, as the registry was never
// away.
func TestMissedRemoval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = 6 * time.Second
		store := memreg.NewStore()
		store.Plant("s", "h:1", nil)
		reg := registry.New(forgetful{store.Conn()}, &registry.Options{TTL: ttl})
		defer reg.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 3*ttl)
		defer cancel()
		var removed time.Time
		for snap, err := range reg.Watch(ctx, "s") {
			switch {
			case err != nil:
				t.Fatalf("the removal was never shown: %v", err)
			case removed.IsZero():
				removed = time.Now()
				store.Remove("s", "h:1")
			case len(snap.Instances) == 0:
				if d := time.Since(removed); d > ttl {
					t.Errorf("the removal was shown after %v, the TTL is %v", d, ttl)
				}
				return
			}
		}
	})
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

// A stuck backend answers, but for the first set of its first watch.
type stuck struct {
	registry.Backend
	before *atomic.Bool
}

func (b stuck) Watch(ctx context.Context, service string, sink registry.Sink) error {
	if b.before.CompareAndSwap(false, true) {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return b.Backend.Watch(ctx, service, sink)
}

// TestWatchThatBringsNothing: a server may keep one request for ever and answer the
// others, as one does that had no leader in that moment.
func TestWatchThatBringsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = 6 * time.Second
		reg := registry.New(stuck{memreg.NewStore().Conn(), new(atomic.Bool)}, &registry.Options{TTL: ttl})
		defer reg.Close()
		ctx, cancel := context.WithTimeout(t.Context(), ttl)
		defer cancel()
		for _, err := range reg.Watch(ctx, "s") {
			if err != nil {
				t.Fatalf("the registry answers, and there is no set within the TTL: %v", err)
			}
			break
		}
	})
}

// A brief backend ends each watch as soon as it has brought the set.
type brief struct {
	registry.Backend
	sets *atomic.Int32
}

func (b brief) Watch(ctx context.Context, service string, sink registry.Sink) error {
	b.sets.Add(1)
	sink.Reset(nil, "1")
	return errors.New("too many connections")
}

// TestBriefWatches: where lists are to be had and watches are not, the set is read at the
// pace of tries that fail.
func TestBriefWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := brief{memreg.NewStore().Conn(), new(atomic.Int32)}
		reg := registry.New(b, nil)
		defer reg.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for range reg.Watch(ctx, "s") {
		}
		if n := b.sets.Load(); n > 70 { // one in 1 to 2 s, and the first ones
			t.Errorf("the whole set was read %d times in a minute", n)
		}
	})
}

// A far backend takes its time for a whole set.
type far struct {
	registry.Backend
	takes time.Duration
}

func (b far) Watch(ctx context.Context, service string, sink registry.Sink) error {
	t := time.NewTimer(b.takes)
	defer t.Stop()
	select {
	case <-t.C:
		return b.Backend.Watch(ctx, service, sink)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// TestSetThatTakesLong: a set that takes longer to read than the TTL is shown.
func TestSetThatTakesLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = 6 * time.Second
		reg := registry.New(far{memreg.NewStore().Conn(), 3 * ttl}, &registry.Options{TTL: ttl})
		defer reg.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 20*ttl)
		defer cancel()
		for _, err := range reg.Watch(ctx, "s") {
			if err != nil {
				t.Fatalf("never shown: %v", err)
			}
			break
		}
	})
}

// A severed backend ends its watches when it is told to, as one does whose link another
// call has given up.
type severed struct {
	registry.Backend
	sever chan struct{}
}

func (b severed) Watch(ctx context.Context, service string, sink registry.Sink) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-b.sever:
			cancel(errors.New("the link broke"))
		case <-ctx.Done():
		}
	}()
	err := b.Backend.Watch(ctx, service, sink)
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// Current gives the link up itself where nobody answers, before it returns.
func (b severed) Current(ctx context.Context, service, version string) (bool, error) {
	same, err := b.Backend.Current(ctx, service, version)
	if errors.Is(err, context.DeadlineExceeded) {
		b.sever <- struct{}{}
		time.Sleep(time.Millisecond) // the watch sees it first
	}
	return same, err
}

// TestSilenceAfterABreak: a registry that has fallen silent has no more time to answer
// because the link is given up meanwhile: not by another call, nor by the very look that
// it does not answer.
func TestSilenceAfterABreak(t *testing.T) {
	const ttl = 6 * time.Second
	for _, tc := range []struct{ after, within time.Duration }{
		{ttl / 10, ttl * 2 / 3},
		{ttl / 3, ttl * 2 / 3},
		{ttl * 5 / 9, ttl * 5 / 6},                   // the next link has a sixth of the TTL to answer, as always
		{ttl*2/3 - 1, ttl*5/6 + 50*time.Millisecond}, // after a pause
		{ttl, ttl * 2 / 3},                           // the look gives it up
	} {
		synctest.Test(t, func(t *testing.T) {
			conn := memreg.NewStore().Conn()
			b := severed{conn, make(chan struct{}, 1)}
			reg := registry.New(b, &registry.Options{TTL: ttl, Logger: quiet.Logger})
			defer reg.Close()
			began := time.Now()
			for snap, err := range reg.Watch(t.Context(), "s") {
				if err != nil {
					t.Fatal(err)
				}
				if snap.Err != nil {
					if d := time.Since(began); d > tc.within+time.Millisecond {
						t.Errorf("the link was given up after %v, and Err says after %v that the registry is silent; want %v", tc.after, d, tc.within)
					}
					break
				}
				conn.Freeze()
				time.AfterFunc(tc.after, func() { b.sever <- struct{}{} })
			}
		})
	}
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
		var busy sync.WaitGroup
		defer busy.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 20*ttl)
		defer cancel()
		busy.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				store.Plant("s", "h:1", fmt.Appendf(nil, `{"addr":"h:1","meta":{"n":"%d"}}`, n))
				time.Sleep(30 * time.Millisecond)
			}
		})
		for range reg.Watch(ctx, "s") {
		}
		if n := b.sets.Load(); n != 1 {
			t.Errorf("the whole set was read %d times in 20 TTLs of changes", n)
		}
	})
}
