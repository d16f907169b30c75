package etcdreg

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// A follower is a Watch whose stream is up.
type follower struct {
	c        *conn
	revision atomic.Int64 // up to which it has brought everything, as Current knows
	progress chan int64   // capacity 1: up to which the stream says so
}

// says notes that the stream says to have brought everything up to revision.
func (w *follower) says(revision int64) {
	select {
	case <-w.progress: // an older one
	default:
	}
	w.progress <- revision // only this goroutine sends
}

// progressPause is longer than it takes the server to bring a new watch up to date,
// which it does every 100 ms.
const progressPause = 150 * time.Millisecond

// Current asks the server of the watch for its revision. If the stream is not known to
// have brought everything up to that, it is asked to say how far it is: changes come in
// order on one stream, or it breaks. So it is one small request, and another one if
// anything at all was written since the last time.
//
// What the stream says does not tell to which request it answers, and all its watches hear
// it. So it has to name that revision, and what it has said before the request does not
// count: that may have been of a time when there was no such watch yet.
func (b *Backend) Current(ctx context.Context, service, _ string) (bool, error) {
	b.mu.Lock()
	w := b.watches[service]
	b.mu.Unlock()
	if w == nil { // there is no set yet: whether the server answers is all there is to know
		c, err := b.connect(ctx)
		if err == nil {
			_, err = b.revision(ctx, c, service)
		}
		return false, err
	}
	now, err := b.revision(ctx, w.c, service)
	if err != nil {
		return false, err
	}
	sent := time.Now()
	for w.revision.Load() < now {
		select {
		case <-w.progress:
		default:
		}
		if err := w.c.client.RequestProgress(clientv3.WithRequireLeader(ctx)); err != nil {
			return false, b.explain(ctx, w.c, sent, err)
		}
		if err := w.await(ctx, now); err != nil {
			return false, b.explain(ctx, w.c, sent, err)
		}
	}
	return true, nil
}

// await returns when the stream has brought everything up to revision, or is to be asked
// again: while another of its watches has yet to catch up, the server drops the request
// without a word.
func (w *follower) await(ctx context.Context, revision int64) error {
	again := time.NewTimer(progressPause)
	defer again.Stop()
	for w.revision.Load() < revision {
		select {
		case reached := <-w.progress:
			w.revision.Store(reached)
		case <-again.C:
			return nil
		case <-w.c.broken:
			return fmt.Errorf("%s: %w", w.c.server, errBroken)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// revision returns that of the server of c.
func (b *Backend) revision(ctx context.Context, c *conn, service string) (int64, error) {
	sent := time.Now()
	// Of the directory, which is no key, but which one may read who may read the service.
	resp, err := c.client.Get(clientv3.WithRequireLeader(ctx), b.prefix(service), clientv3.WithCountOnly(), clientv3.WithSerializable())
	if err != nil {
		return 0, b.explain(ctx, c, sent, err)
	}
	return resp.Header.Revision, nil
}

func (b *Backend) setFollower(service string, w *follower) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if w == nil {
		delete(b.watches, service)
	} else {
		b.watches[service] = w
	}
}
