package registry

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// guard has records written again that the session has lost.
func (k *keeper) guard(ctx context.Context, s Session, cancel context.CancelCauseFunc) {
	var pause backoff
	failed := false
	var since time.Time
	for ctx.Err() == nil {
		began := time.Now()
		lasts, over := context.WithCancel(ctx)
		var wg sync.WaitGroup
		if failed {
			wg.Go(func() {
				if sleep(lasts, s.TTL()) {
					k.c.log.Info("registry: what is registered is watched again", "after", time.Since(since).Round(time.Millisecond))
				}
			})
		}
		err := s.Guard(ctx, k.lost)
		over()
		wg.Wait()
		if errors.Is(err, ErrSessionLost) {
			cancel(err)
			return
		}
		if time.Since(began) > s.TTL() {
			pause.reset()
			failed = false
		}
		if ctx.Err() == nil {
			k.c.observe(Event{Kind: Retrying, Op: "guard", Err: err})
		}
		if permanent(err) && !failed { // else it is the link's trouble, which renewals report
			failed, since = true, time.Now()
			k.c.log.Warn("registry: cannot watch what is registered: trying again", "err", err)
		}
		sleep(ctx, pause.after(err))
	}
}

func (k *keeper) lost(service, id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e := k.entries[key{service, id}]; e != nil {
		if e.want != nil && e.held {
			e.wrong = time.Now()
			k.tell(Event{Kind: RecordLost, Service: service, ID: id, Err: errTaken})
			k.mu.say(slog.LevelWarn, "registry: record lost to somebody else: writing it again", "service", service, "instance", id)
		}
		e.held = false
		k.enqueue(e)
	}
}
