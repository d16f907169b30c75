package processes_test

import (
	"regexp"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/internal/testserver"
)

const (
	service = "go_servers"

	// ttl is what every backend's server grants as asked.
	ttl = 2 * time.Second

	// requestTimeout is the --timeout of timesvc get, and a dial has a quarter of it.
	requestTimeout = 2 * time.Second
	dialTimeout    = requestTimeout / 4

	// slack is what bounds are stretched by: some round trips, and what a loaded
	// machine takes at its slowest to run a process that has something to do.
	slack = time.Second

	// back is the time within which a client is back after its link is: what is left
	// of a pause between two tries, and a renewal.
	back = 3*registry.MaxBackoff/2 + ttl/3
)

// A world is a registry, time servers that announce themselves there, a client that
// asks them without a break, and an observer.
type world struct {
	backend
	path   string // of the program
	url    string
	reg    testserver.Server
	addrs  []string
	serves []*program // on addrs
	get    *getter
	seen   *observer
}

// newWorld returns when there are three servers, and requests are answered: as many as
// the flags of get say.
func newWorld(t *testing.T, path string, b backend, load ...string) *world {
	t.Helper()
	w := &world{backend: b, path: path, reg: testserver.Own(t, b.kind, b.start)}
	w.url = b.scheme + "://" + w.reg.Addr() + "/processes"
	t.Logf("%s %s at %s", b.kind, w.reg.Version(), w.reg.Addr())
	var err error
	if w.addrs, err = testserver.FreeAddrs(3); err != nil {
		t.Fatal(err)
	}
	w.seen = observe(t, w.url, service)
	for range w.addrs {
		w.serves = append(w.serves, nil)
	}
	for i := range w.addrs {
		w.serve(t, t, i)
	}
	w.seen.until(t, back+slack, w.addrs...)
	w.get = &getter{program: start(t, path, append([]string{"get", "--registry", w.url, "--service", service,
		"--requests", "1000000", "--timeout", requestTimeout.String(), "--output", "json"}, load...)...)}
	w.get.since(t, time.Time{}, 10)
	return w
}

// A scene is what happens while requests are made. What it starts belongs to owner.
type scene struct {
	name string
	run  func(w *world, t, owner *testing.T)
}

// play runs the scenes one after the other, and ends the requests.
func (w *world) play(t *testing.T, scenes []scene) {
	for _, s := range scenes {
		if !t.Run(s.name, func(sub *testing.T) { s.run(w, sub, t) }) {
			t.FailNow() // the next would start from what this one has left
		}
	}
	w.get.finish(t)
}

// serve starts the server on the address i, which lives as long as owner, and
// returns when it says that it is announced.
func (w *world) serve(t, owner *testing.T, i int) {
	t.Helper()
	w.serves[i] = start(owner, w.path, "serve", "--registry", w.url, "--service", service, "--listen", w.addrs[i], "--ttl", ttl.String())
	w.serves[i].stderr.Await(t, `announced" .*instance=`+regexp.QuoteMeta(w.addrs[i]))
}

// without returns the addresses but i.
func (w *world) without(i int) (others []string) {
	for j, addr := range w.addrs {
		if j != i {
			others = append(others, addr)
		}
	}
	return others
}

// all waits until all servers are there, and returns the mark of that.
func (w *world) all(t *testing.T, d time.Duration) int {
	t.Helper()
	w.seen.until(t, d, w.addrs...)
	return w.seen.mark()
}
