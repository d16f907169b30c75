package zkreg

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/go-rollcall/registry"
	"github.com/go-zookeeper/zk"
)

// watchList reads the names below parent, with the watch armed.
func (c *conn) watchList(ctx context.Context, parent string) (listing, error) {
	n, set := c.watches.arm(parent)
	if !set {
		return c.list(ctx, parent, func() ([]string, *zk.Stat, error) { return c.zk.Children(parent) })
	}
	armed := func() ([]string, *zk.Stat, error) {
		names, st, _, err := c.zk.ChildrenW(parent)
		return names, st, err
	}
	l, err := c.list(ctx, parent, armed)
	if err == nil && l.stat == nil { // no parent yet: wait for it to come
		var exists bool
		exists, err = call(ctx, c, func() (bool, error) {
			ok, _, _, err := c.zk.ExistsW(parent)
			return ok, err
		})
		if exists { // it has just come
			l, err = c.list(ctx, parent, armed)
		}
	}
	if err != nil {
		c.watches.unarm(parent, n)
	}
	return l, err
}

// watchNode reads the node at path, with the watch armed; ok is false if there
// is none.
func (c *conn) watchNode(ctx context.Context, path string) (value []byte, ok bool, err error) {
	n, set := c.watches.arm(path)
	c.watches.mu.Lock()
	if n.fresh {
		defer c.watches.mu.Unlock()
		return n.value, true, nil
	}
	c.watches.mu.Unlock()
	value, err = call(ctx, c, func() (v []byte, err error) {
		if set {
			v, _, _, err = c.zk.GetW(path)
		} else {
			v, _, err = c.zk.Get(path)
		}
		return v, err
	})
	if err != nil {
		if set {
			c.watches.unarm(path, n)
		}
		if errors.Is(err, zk.ErrNoNode) {
			return nil, false, nil
		}
		return nil, false, err
	}
	c.watches.mu.Lock()
	n.value, n.fresh = value, true
	c.watches.mu.Unlock()
	return value, true, nil
}

// Watch lists the names when the parent's watch fires, and reads the nodes that
// are new or whose own watch has fired.
func (b *Backend) Watch(ctx context.Context, service string, sink registry.Sink) (err error) {
	c, err := b.read(ctx)
	if err != nil {
		return err
	}
	if err := c.ready(ctx); err != nil {
		return err
	}
	_, _, unbroken := c.state()
	parent := b.path(service)
	if c.watches.doubts(parent) {
		if _, err := c.records(ctx, parent, service); err != nil {
			return err
		}
		c.watches.disarm(parent)
	}
	l := c.watches.listen(parent)
	defer func() {
		c.watches.ignore(parent, l, ctx.Err() != nil)
		if errors.Is(err, registry.ErrDenied) {
			c.watches.doubt(parent)
		}
	}()
	var (
		known   = map[string]int{} // names that the sink has, and the last listing with each
		listing int
		version string
		put     = map[string]registry.Record{} // of which the sink has not heard yet
		gone    = map[string]bool{}            // nor of these
		first   = true
		anew    int // how often the names were listed again before the sink has heard
	)
	went := func(name string) {
		delete(known, name)
		delete(put, name)
		gone[name] = true
	}
	for {
		changed, up, breaks := c.state()
		if !up || breaks != unbroken {
			return errors.New("the connection to " + c.zk.Server() + " broke")
		}
		list := c.watches.takeList(l) || anew > 0
		var read []string
		if list {
			now, err := c.watchList(ctx, parent)
			if err != nil {
				return err
			}
			version = versionOf(now.stat)
			if first {
				c.watches.begin(parent, version)
			}
			fired := c.watches.takeChanged(l) // with what the listing has seen already
			listing++
			for _, name := range now.names {
				if known[name] == 0 || fired[name] {
					read = append(read, name)
				}
				known[name] = listing
			}
			for name, last := range known {
				if last != listing {
					went(name)
				}
			}
		} else {
			for name := range c.watches.takeChanged(l) {
				if known[name] > 0 {
					read = append(read, name)
				}
			}
		}
		some := false // of read went since; the next listing comes
		var mu sync.Mutex
		err = parallel(len(read), func(i int) error {
			value, ok, err := c.watchNode(ctx, parent+"/"+read[i])
			mu.Lock()
			defer mu.Unlock()
			if ok {
				put[read[i]] = registry.Record{Service: service, ID: read[i], Value: value}
				delete(gone, read[i])
			} else if err == nil {
				some = true
				went(read[i])
			}
			return err
		})
		if err != nil {
			return err
		}
		if some && again(len(known), anew) {
			anew++
			continue
		}
		anew = 0
		c.watches.brought(parent, version)
		recs := slices.Collect(maps.Values(put))
		if first {
			sink.Reset(recs, version)
			first = false
		} else if list || len(put)+len(gone) > 0 {
			sink.Apply(recs, slices.Collect(maps.Keys(gone)), version)
		}
		clear(put)
		clear(gone)
		select {
		case <-l.wake:
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
