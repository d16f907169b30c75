package etcdreg

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/go-rollcall/registry"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Watch lists the records as of a revision, and streams the changes from that one
// on, so that there is nothing in between. It never goes on from an old revision:
// what was compacted away in the meantime is no concern of it.
//
// From that one, not the next, although what was written last then comes twice: of
// a stream with a watch that begins in the future a server tells no progress.
func (b *Backend) Watch(ctx context.Context, service string, sink registry.Sink) error {
	c, err := b.connect(ctx)
	if err != nil {
		return err
	}
	sent := time.Now()
	resp, err := c.client.Get(clientv3.WithRequireLeader(ctx), b.prefix(service), clientv3.WithPrefix())
	if err != nil {
		return b.explain(ctx, c, sent, err)
	}
	sink.Reset(b.records(service, resp.Kvs), version(resp.Header.Revision))

	w := &follower{c: c, progress: make(chan int64, 1)}
	w.revision.Store(resp.Header.Revision)
	defer b.setFollower(service, nil)
	return b.stream(ctx, c, b.prefix(service), clientv3.GetPrefixRangeEnd(b.prefix(service)), resp.Header.Revision, func(r clientv3.WatchResponse) {
		if r.Created {
			b.setFollower(service, w)
		}
		put, gone := b.changes(service, r.Events)
		if len(put)+len(gone) > 0 {
			sink.Apply(put, gone, version(r.Header.Revision))
		}
		if r.IsProgressNotify() {
			w.says(r.Header.Revision)
		}
	}, nil)
}

// stream calls each for what comes for the keys from key to end, until ctx ends,
// the connection breaks, the server refuses, or stop is signalled, which is no error.
func (b *Backend) stream(ctx context.Context, c *conn, key, end string, revision int64, each func(clientv3.WatchResponse), stop <-chan struct{}) error {
	// A server that is cut off from the others would go on saying that all is quiet.
	watch, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	begun := time.Now()
	news := c.client.Watch(watch, key, clientv3.WithRange(end), clientv3.WithRev(revision), clientv3.WithFragment(), clientv3.WithCreatedNotify())
	for {
		select {
		case r, ok := <-news:
			if err := r.Err(); err != nil {
				return b.explain(ctx, c, begun, err)
			}
			if !ok {
				return b.explain(ctx, c, begun, errBroken)
			}
			each(r)
		case <-c.broken:
			return fmt.Errorf("%s: %w", c.server, errBroken)
		case <-stop:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func version(revision int64) string { return fmt.Sprint(revision) }

// records leaves out what is deeper than a record.
func (b *Backend) records(service string, kvs []*mvccpb.KeyValue) []registry.Record {
	recs := make([]registry.Record, 0, len(kvs))
	for _, kv := range kvs {
		if id, ok := b.id(service, kv.Key); ok {
			recs = append(recs, registry.Record{Service: service, ID: id, Value: kv.Value})
		}
	}
	return recs
}

// changes merges events: of several on one record the last counts.
func (b *Backend) changes(service string, events []*clientv3.Event) (put []registry.Record, gone []string) {
	last := make(map[string]*clientv3.Event, len(events))
	for _, ev := range events {
		if id, ok := b.id(service, ev.Kv.Key); ok {
			last[id] = ev
		}
	}
	for id, ev := range last {
		if ev.Type == clientv3.EventTypeDelete {
			gone = append(gone, id)
		} else {
			put = append(put, registry.Record{Service: service, ID: id, Value: ev.Kv.Value})
		}
	}
	return put, gone
}

func (b *Backend) id(service string, key []byte) (id string, ok bool) {
	id = strings.TrimPrefix(string(key), b.prefix(service))
	return id, id != "" && !strings.Contains(id, "/")
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
