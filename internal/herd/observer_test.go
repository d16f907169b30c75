package herd_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
)

// An observer watches all services of the herd, and counts instances.
type observer struct {
	mu      sync.Mutex
	sets    map[string]registry.Snapshot
	n       int       // instances, of all services
	whole   bool      // each service is known, and confirmed
	last    time.Time // when n or whole last changed
	counts  []int     // n at each snapshot
	changed chan struct{}
}

func (h *herd) observe(t *testing.T) *observer {
	o := &observer{sets: map[string]registry.Snapshot{}, changed: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for k := range *services {
		wg.Go(func() {
			for snap, err := range h.reg.Watch(ctx, service(k)) {
				if err == nil {
					o.note(service(k), snap)
				}
			}
		})
	}
	t.Cleanup(func() { cancel(); wg.Wait() })
	return o
}

func (o *observer) note(service string, snap registry.Snapshot) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.n += len(snap.Instances) - len(o.sets[service].Instances)
	o.sets[service] = snap
	o.whole = len(o.sets) == *services
	for _, s := range o.sets {
		o.whole = o.whole && s.Err == nil
	}
	o.counts = append(o.counts, o.n)
	o.last = time.Now()
	close(o.changed)
	o.changed = make(chan struct{})
}

func (o *observer) at() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last
}

// mark is a moment for absent, from which what is shown now counts.
func (o *observer) mark() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.counts) - 1
}

// absent returns how many were not shown, at most, since mark.
func (o *observer) absent(mark int) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return *registries**instances - slices.Min(o.counts[mark:])
}

// until waits for a number of instances that is ok, in sets that are confirmed.
func (o *observer) until(t *testing.T, d time.Duration, want string, ok func(n int) bool) {
	t.Helper()
	limit := time.NewTimer(d)
	defer limit.Stop()
	for {
		o.mu.Lock()
		done, n, whole, changed := o.whole && ok(o.n), o.n, o.whole, o.changed
		o.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-limit.C:
			t.Fatalf("want %s, confirmed, within %v; a watch shows %d (confirmed: %t)", want, d, n, whole)
		}
	}
}

// rest returns after d, in which it reads on.
func (o *observer) rest(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	<-t.C
}
