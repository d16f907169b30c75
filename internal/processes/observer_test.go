package processes_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
)

// An observer reads a watch of the service, and keeps all that it has seen.
type observer struct {
	mu      sync.Mutex
	all     []seen
	err     error         // the last of the watch
	changed chan struct{} // closed and made anew at each snapshot
}

// A seen is a set of addresses, and when it was shown.
type seen struct {
	addrs []string
	err   error
	at    time.Time
}

func observe(t *testing.T, url, service string) *observer {
	reg, err := registry.Open(t.Context(), url, &registry.Options{TTL: ttl, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	o := &observer{changed: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for snap, err := range reg.Watch(ctx, service) {
			o.note(snap, err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		reg.Close() // it has registered nothing
	})
	return o
}

func (o *observer) note(snap registry.Snapshot, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		o.err = err
	} else {
		s := seen{err: snap.Err, at: time.Now()}
		for _, in := range snap.Instances {
			s.addrs = append(s.addrs, in.Addr)
		}
		slices.Sort(s.addrs)
		o.all = append(o.all, s)
	}
	close(o.changed)
	o.changed = make(chan struct{})
}

// mark is a moment for neverWithout, from which what is shown now counts.
func (o *observer) mark() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.all) - 1
}

// until waits for a confirmed set of just these addresses, no longer than d.
func (o *observer) until(t *testing.T, d time.Duration, want ...string) seen {
	t.Helper()
	want = slices.Sorted(slices.Values(want))
	limit := time.NewTimer(d)
	defer limit.Stop()
	for {
		o.mu.Lock()
		last, changed, err := seen{}, o.changed, o.err
		n := len(o.all)
		if n > 0 {
			last = o.all[n-1]
		}
		o.mu.Unlock()
		switch {
		case n > 0 && last.err == nil && slices.Equal(last.addrs, want):
			return last
		case err != nil:
			t.Fatalf("the watch has ended: %v", err)
		}
		select {
		case <-changed:
		case <-limit.C:
			t.Fatalf("want [%s] within %v; the last of %d sets is [%s], err %v",
				strings.Join(want, " "), d, n, strings.Join(last.addrs, " "), last.err)
		}
	}
}

// quiet reads on for d.
func (o *observer) quiet(d time.Duration) {
	limit := time.NewTimer(d)
	defer limit.Stop()
	for {
		o.mu.Lock()
		changed := o.changed
		o.mu.Unlock()
		select {
		case <-changed:
		case <-limit.C:
			return
		}
	}
}

// neverWithout fails if one of the addresses was absent since mark.
func (o *observer) neverWithout(t *testing.T, mark int, addrs ...string) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.all[mark:] {
		for _, addr := range addrs {
			if !slices.Contains(s.addrs, addr) {
				t.Errorf("%s must not be absent, and was at %v: [%s]", addr, s.at.Format("15:04:05.000"), strings.Join(s.addrs, " "))
			}
		}
	}
}
