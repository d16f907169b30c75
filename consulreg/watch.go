package consulreg

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/hashicorp/consul/api"
)

const (
	// maxWait is how long the server keeps a query that waits for a change. Less than
	// a minute, after which many a proxy gives up an idle connection.
	maxWait = 50 * time.Second

	// small is how many bytes the records of a service may have for a query to wait for
	// them all, and bring them.
	small = 8 << 10

	// maxDelay is the most time for an answer that need not wait. A server that has no
	// leader in that moment keeps a query for a minute, and answers others meanwhile.
	maxDelay = 10 * time.Second

	// maxReadPause is the longest pause after a read, where that took long.
	maxReadPause = time.Second

	minPause = 2 * time.Millisecond
	maxPause = 200 * time.Millisecond
)

// A mark is what Consul tells of a service in O(1): the index of the newest change
// below it, and whether there is any key. Services whose names begin alike move
// the index too.
//
// The index counts only where there is a key: else it is that of the whole store, or
// that of a deletion that is remembered. Nor does it move when all goes at once, by a
// deletion further up, and an older one here is remembered: then nothing wakes who
// waits, and that there is no key is what tells.
type mark struct {
	index uint64
	there bool
}

const nothing = "nothing" // the version of a service without keys

func (m mark) version() string {
	if !m.there {
		return nothing
	}
	return strconv.FormatUint(m.index, 10)
}

// mark asks for that of service, once its index is higher than that of last, or
// after a while. The answer has one name, whatever the number of keys.
func (b *Backend) mark(ctx context.Context, service string, last mark, most time.Duration) (mark, error) {
	path := b.path(service)
	q, done := waiting(ctx, last, most)
	defer done()
	names, meta, err := ask(b, func() ([]string, *api.QueryMeta, error) {
		return b.client.KV().Keys(path[:len(path)-1], "/", q)
	})
	if err != nil {
		return mark{}, err
	}
	now := mark{meta.LastIndex, slices.Contains(names, path)}
	// What was left out may be another service, whose name begins alike.
	meta.ResultsFilteredByACLs = false
	return now, b.trust(q.Context(), path, meta, !now.there)
}

// waiting makes a query wait, unless nothing is known yet, and end when it is overdue:
// the server adds up to a sixteenth to what it is asked for.
func waiting(ctx context.Context, last mark, most time.Duration) (*api.QueryOptions, context.CancelFunc) {
	if last.index == 0 {
		most = 0
	}
	ctx, cancel := context.WithTimeout(ctx, most+most/16+maxDelay)
	return (&api.QueryOptions{WaitIndex: last.index, WaitTime: most}).WithContext(ctx), cancel
}

// Current compares the index of the last change. If it is another, Watch may wait
// for what does not come: its query ends at a higher index only, and it is lower
// when the server has forgotten a deletion, as it does after a quarter of an hour,
// or was restored from an older state. So Watch is told to ask anew.
func (b *Backend) Current(ctx context.Context, service, version string) (bool, error) {
	now, err := b.mark(ctx, service, mark{}, 0)
	if err != nil || now.version() == version {
		return err == nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if again := b.waits[service]; again != nil {
		again()
	}
	return false, nil
}

// next waits for the mark of service to be another than last. If early is not nil, it
// is handed what has changed before the mark is known.
func (b *Backend) next(ctx context.Context, service string, last mark, early func(api.KVPairs)) (now mark, err error) {
	wait, again := context.WithCancel(ctx)
	defer again()
	b.mu.Lock()
	b.waits[service] = again
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.waits, service)
	}()
	for err == nil {
		than := last
		if early != nil {
			than, err = mark{}, b.soon(wait, service, last, early)
		}
		if err == nil {
			now, err = b.mark(wait, service, than, maxWait)
		}
		if err != nil || now != last {
			break
		}
		err = pause(wait, maxPause) // a return is no change, whoever caused it
	}
	if wait.Err() != nil && ctx.Err() == nil {
		return b.mark(ctx, service, mark{}, 0)
	}
	return now, err
}

// soon waits for a change of the records themselves, and hands them to early if they
// are newer than last. That is a round trip sooner than to wait for the mark and then
// to read them; but the records of a large service would come again whenever the
// query has waited in vain.
func (b *Backend) soon(ctx context.Context, service string, last mark, early func(api.KVPairs)) error {
	path := b.path(service)
	q, done := waiting(ctx, last, maxWait)
	defer done()
	pairs, meta, err := ask(b, func() (api.KVPairs, *api.QueryMeta, error) { return b.client.KV().List(path, q) })
	if err == nil {
		err = b.trust(ctx, path, meta, false)
	}
	if err == nil && meta.LastIndex > last.index && len(pairs) > 0 { // that there is nothing is for the mark to say
		early(held(path, pairs))
	}
	return err
}

// Watch waits for the mark to move, and then reads all records.
//
// There is no cheaper way to find what has changed. Names alone, which take 8 ms for
// 10,000, do not show an update, and to compare the index of each takes longer than
// to read them all: 49 ms in transactions of 128, and 35 ms.
func (b *Backend) Watch(ctx context.Context, service string, sink registry.Sink) error {
	known := map[string]uint64{} // by ID: the index of the record's last change
	at, err := b.mark(ctx, service, mark{}, 0)
	quiet := time.Duration(0) // the pause after changes that were none of this service's
	news := false             // some was handed over before the mark was known
	for anew := true; err == nil; {
		began := time.Now()
		// Also if there is nothing by the mark: a server that has just started says so
		// before it knows what is in its log, and only what is read here is sure.
		pairs, err := b.list(ctx, service)
		if err != nil {
			return err
		}
		put, gone := update(known, service, pairs)
		if anew {
			sink.Reset(put, at.version())
		} else {
			sink.Apply(put, gone, at.version())
		}
		if anew || news || len(put)+len(gone) > 0 {
			quiet = 0
		} else {
			quiet = min(max(2*quiet, minPause), maxPause)
		}
		// Where there are many changes, half of the time goes into reading, if that is not slow
		// for another reason.
		if err := pause(ctx, max(min(time.Since(began), maxReadPause), minPause, quiet)); err != nil {
			return err
		}
		news = false
		var early func(api.KVPairs)
		if size(pairs) <= small {
			early = func(pairs api.KVPairs) {
				put, gone := update(known, service, pairs)
				news = len(put)+len(gone) > 0
				if news {
					sink.Apply(put, gone, at.version()) // or a later one
				}
			}
		}
		next, fail := b.next(ctx, service, at, early)
		if fail != nil {
			return fail
		}
		if next.index < at.index { // what was known may be of another state
			for id := range known {
				known[id] = 0
			}
		}
		at, anew = next, false
	}
	return err
}

func size(pairs api.KVPairs) (bytes int) {
	for _, p := range pairs {
		bytes += len(p.Key) + len(p.Value)
	}
	return bytes
}

// update makes known that of pairs, and returns what differs.
func update(known map[string]uint64, service string, pairs api.KVPairs) (put []registry.Record, gone []string) {
	there := make(map[string]bool, len(pairs))
	for _, p := range pairs {
		rec := record(service, p)
		there[rec.ID] = true
		if known[rec.ID] != p.ModifyIndex {
			known[rec.ID] = p.ModifyIndex
			put = append(put, rec)
		}
	}
	for id := range known {
		if !there[id] {
			delete(known, id)
			gone = append(gone, id)
		}
	}
	return put, gone
}

// pause waits, and returns the cause of ctx if that ends before.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
