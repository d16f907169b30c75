package zkreg

import (
	"strings"
	"sync"

	"github.com/go-zookeeper/zk"
)

// watches is what the server watches for us on one connection. A watch there is
// for one event, and the client has no way to take one back: so each path has at
// most one, and who reads a path again while its watch stands reads without.
//
// What was read under a watch that stands is still so, as long as the link does. A
// Watch that begins anew after the link broke, and finds the parent as it was,
// reads none of 10,000 nodes again. If the parent has moved it reads them all: what the
// watches have to tell of that may come later than the new set.
type watches struct {
	mu        sync.Mutex
	armed     map[string]*watched  // by path
	versions  map[string]string    // by parent path: at which the values of the nodes were read
	listeners map[string]*listener // by parent path: the Watch under way
	doubted   map[string]bool      // by parent path: see doubt
	nodes     func(path string)    // told of each event; nil: nobody
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
	w.doubted = map[string]bool{}
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

// doubt notes that something of parent may not be read. A server drops without a word
// what happens to nodes that the watcher may not read at that time: once all of them can
// be read, all watches are to be set again. Not before, since the client library keeps
// each that is set until it fires.
func (w *watches) doubt(parent string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.doubted[parent] = true
}

func (w *watches) doubts(parent string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.doubted[parent]
}

// disarm has all watches of parent and below set again.
func (w *watches) disarm(parent string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.doubted, parent)
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
	n = w.armed[path]
	if n == nil {
		n = &watched{}
		w.armed[path] = n
		return n, true
	}
	return n, false
}

// unarm takes back an arm that has failed.
func (w *watches) unarm(path string, n *watched) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.armed[path] == n {
		delete(w.armed, path)
	}
}
