package zkreg

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/go-rollcall/registry"
	"github.com/go-zookeeper/zk"
)

// watches is what the server watches for us on one connection. A watch there is
// for one event, and the client has no way to take one back: so each path has at
// most one, and who reads a path again while its watch stands reads without.
//
// What was read under a watch that stands is still so, as long as the link does. A
// Watch that begins anew after the link broke, and finds the parent as it was,
// reads none of 10,000 nodes again. If the parent has moved it reads them all: the
// client library, when it sets its watches again, may ask only for what happens
// from then on.
type watches struct {
	mu        sync.Mutex
	armed     map[string]*watched  // by path
	versions  map[string]string    // by parent path: at which the values of the nodes were read
	listeners map[string]*listener // by parent path: the Watch under way
	nodes     func(path string)    // told of each event; nil: nobody
	any       bool                 // one has been armed at some time
}

// A watched path. Its value is what was read last under the watch.
type watched struct {
	value []byte
	fresh bool // value has been read
}

// A listener gathers what has happened below one parent.
type listener struct {
	list    bool            // children came or went
	changed map[string]bool // names of children whose watch has fired
	wake    chan struct{}   // capacity 1
}

func (w *watches) init() {
	w.armed, w.versions, w.listeners = map[string]*watched{}, map[string]string{}, map[string]*listener{}
}

// fired is called for each event, in order with the answers to requests: before
// that of any request which sees the change.
func (w *watches) fired(ev zk.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.armed, ev.Path)
	if w.nodes != nil {
		w.nodes(ev.Path)
	}
	if l := w.listeners[ev.Path]; l != nil {
		l.list = true
		l.nudge()
	}
	if i := strings.LastIndexByte(ev.Path, '/'); i >= 0 {
		if l := w.listeners[ev.Path[:i]]; l != nil {
			l.changed[ev.Path[i+1:]] = true
			// A deletion moves the parent too, whose event is on its way.
			if ev.Type != zk.EventNodeDeleted {
				l.nudge()
			}
		}
	}
}

// tell has nodes called with the path of each event.
func (w *watches) tell(nodes func(path string)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nodes = nodes
}

func (l *listener) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// listen begins to gather for parent. Everything counts as changed at first.
func (w *watches) listen(parent string) *listener {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := &listener{list: true, changed: map[string]bool{}, wake: make(chan struct{}, 1)}
	w.listeners[parent] = l
	return l
}

// ignore ends listen. If the link is well, nobody is coming back for the values.
func (w *watches) ignore(parent string, l *listener, forget bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.listeners[parent] == l {
		delete(w.listeners, parent)
	}
	if forget {
		w.forget(parent)
	}
}

// forget drops what was read below parent. w.mu is held.
func (w *watches) forget(parent string) {
	delete(w.versions, parent)
	for path, n := range w.armed {
		if i := strings.LastIndexByte(path, '/'); path[:i] == parent {
			n.value, n.fresh = nil, false
		}
	}
}

// disarm has all watches of parent and below set again: a server drops without a
// word what happens to nodes that the watcher may not read at that time.
func (w *watches) disarm(parent string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.forget(parent)
	for path := range w.armed {
		if path == parent || strings.HasPrefix(path, parent+"/") {
			delete(w.armed, path)
		}
	}
}

// begin drops what an earlier Watch has read, unless it is of the same version.
func (w *watches) begin(parent, version string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.versions[parent] != version {
		w.forget(parent)
	}
}

// brought notes that all values below parent are of this version or newer.
func (w *watches) brought(parent, version string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.versions[parent] = version
}

// takeList returns whether children came or went since it was last called.
func (w *watches) takeList(l *listener) (list bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	list, l.list = l.list, false
	return list
}

// takeChanged returns the names of children whose watch has fired since then.
func (w *watches) takeChanged(l *listener) map[string]bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	changed := l.changed
	l.changed = map[string]bool{}
	return changed
}

// arm returns the watch on path, and whether the caller has to set it: it is
// noted before the request goes out, as the event may come before the answer is
// looked at.
func (w *watches) arm(path string) (n *watched, set bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.any = true
	n = w.armed[path]
	if n == nil {
		n = &watched{}
		w.armed[path] = n
		return n, true
	}
	return n, false
}

// used reports whether the client library may have watches to set again.
func (w *watches) used() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.any
}

// unarm takes back an arm that has failed.
func (w *watches) unarm(path string, n *watched) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.armed[path] == n {
		delete(w.armed, path)
	}
}

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
	_, _, unbroken := c.state()
	parent := b.path(service)
	l := c.watches.listen(parent)
	defer func() {
		c.watches.ignore(parent, l, ctx.Err() != nil)
		if errors.Is(err, registry.ErrDenied) {
			c.watches.disarm(parent)
		}
	}()
	var (
		known   = map[string]int{} // names that the sink has, and the last listing with each
		listing int
		version string
		first   = true
	)
	for {
		changed, up, breaks := c.state()
		if !up || breaks != unbroken {
			return errors.New("the connection to " + c.zk.Server() + " broke")
		}
		list := c.watches.takeList(l)
		var read, gone []string
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
					delete(known, name)
					gone = append(gone, name)
				}
			}
		} else {
			for name := range c.watches.takeChanged(l) {
				if known[name] > 0 {
					read = append(read, name)
				}
			}
		}
		put := make([]registry.Record, 0, len(read))
		var mu sync.Mutex
		err = parallel(len(read), func(i int) error {
			value, ok, err := c.watchNode(ctx, parent+"/"+read[i])
			mu.Lock()
			defer mu.Unlock()
			if ok {
				put = append(put, registry.Record{Service: service, ID: read[i], Value: value})
			} else if err == nil { // it went since, and the next listing comes
				delete(known, read[i])
				gone = append(gone, read[i])
			}
			return err
		})
		if err != nil {
			return err
		}
		c.watches.brought(parent, version)
		if first {
			sink.Reset(put, version)
			first = false
		} else if list || len(put)+len(gone) > 0 {
			sink.Apply(put, gone, version)
		}
		select {
		case <-l.wake:
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
