package regbench

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/go-rollcall/registry"
)

// A watcher passes on what a watch yields, and when.
type watcher chan seen

type seen struct {
	registry.Snapshot
	at time.Time
}

// longTTL keeps a watch from being verified while something else is measured.
const longTTL = time.Hour

func (e *bench) watch(reg registry.Registry, service string) watcher {
	w := make(watcher, 16)
	e.readers.Go(func() {
		defer close(w)
		for snap, err := range reg.Watch(e.ctx, service) {
			if err != nil {
				return
			}
			select {
			case w <- seen{snap, time.Now()}:
			case <-e.ctx.Done():
			}
		}
	})
	return w
}

// until returns when the watch yielded a snapshot that is ok.
func (w watcher) until(ctx context.Context, ok func(registry.Snapshot) bool) (time.Time, error) {
	for {
		select {
		case s, more := <-w:
			switch {
			case !more:
				return time.Time{}, errors.New("the watch has ended")
			case s.Err != nil:
				return time.Time{}, s.Err
			case ok(s.Snapshot):
				return s.at, nil
			}
		case <-ctx.Done():
			return time.Time{}, errors.New("the watcher does not see it")
		}
	}
}

// len waits for a snapshot of n instances.
func (w watcher) len(n int) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := w.until(ctx, func(s registry.Snapshot) bool { return len(s.Instances) == n })
	return err
}

func (w watcher) await(ctx context.Context, i int, zone string) (time.Time, error) {
	return w.until(ctx, func(s registry.Snapshot) bool {
		at, there := slices.BinarySearchFunc(s.Instances, addr(i), func(in registry.Instance, id string) int { return cmp.Compare(in.ID, id) })
		if zone == "" {
			return !there
		}
		return there && s.Instances[at].Meta["zone"] == zone
	})
}
