// Package processes_test runs the program timesvc in processes of its own on real
// registries, and kills, stops, and starts them again.
package processes_test

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/go-rollcall/registry/internal/measured"
	"github.com/go-rollcall/registry/internal/testserver"

	_ "github.com/go-rollcall/registry/consulreg"
	_ "github.com/go-rollcall/registry/etcdreg"
	_ "github.com/go-rollcall/registry/zkreg"
)

func TestMain(m *testing.M) { os.Exit(testserver.Main(m)) }

type backend struct {
	name   string // of the package
	kind   string // as in REGISTRY_TEST_REQUIRE
	scheme string
	dmax   time.Duration // from a last renewal to the end of the record
	anew   time.Duration // what a server that has just come to lead adds to each session's TTL
	start  func() (testserver.Server, error)
}

var backends = []backend{
	{"zkreg", "zk", "zk", ttl + 300*time.Millisecond, 0, as(testserver.StartZooKeeper)},
	{"etcdreg", "etcd", "etcd", ttl + 600*time.Millisecond, time.Second, as(testserver.StartEtcd)},
	{"consulreg", "consul", "consul", 2*ttl + 100*time.Millisecond, 0, as(testserver.StartConsul)},
}

func as[S testserver.Server](start func() (S, error)) func() (testserver.Server, error) {
	return func() (testserver.Server, error) { return start() }
}

// Through all of this not one request fails.
func TestProcesses(t *testing.T) {
	path := build(t)
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel() // it mostly waits
			w := newWorld(t, path, b, "--interval", "10ms")
			w.play(t, []scene{
				{"killed", killed},
				{"killed-and-restarted-at-once", restarted},
				{"stopped-briefly", stoppedBriefly},
				{"stopped-for-long", stoppedForLong},
				{"asked-to-end", drained},
				{"killed-and-registry-restarted", registryRestarted},
			})
		})
	}
}

// killed: nobody withdraws the record, which stays until the session ends. Until
// then the client asks the dead server now and then, and the next one.
func killed(w *world, t, owner *testing.T) {
	w.all(t, slack)
	begin := time.Now()
	w.serves[0].Kill()
	dead := time.Now()
	gone := w.seen.until(t, w.dmax+slack, w.without(0)...)
	w.mustGo(t, gone.at.Sub(dead))
	w.mustAvoid(t, begin, dead, gone.at)

	begin = time.Now()
	w.serve(t, owner, 0)
	there := w.seen.until(t, slack, w.addrs...)
	measured.Duration(t, "started again, then seen after", "start of the process + 3R", there.at.Sub(begin))
}

// mustGo checks how long a record has stayed after the end of its owner, whose last
// renewal was up to a third of the TTL, and what a slow machine adds, before that.
func (w *world) mustGo(t *testing.T, took time.Duration) {
	t.Helper()
	measured.Duration(t, "record gone after", "2/3 T to Dmax", took)
	if took < ttl/2 {
		t.Errorf("the record went after %v, and the TTL is %v", took, ttl)
	}
}

// mustAvoid checks all requests since begin, and those under way then. The server 0 was
// stopped then, does not answer what began after from, and is asked now and then until its
// record is gone: each request has found another within one dial timeout.
func (w *world) mustAvoid(t *testing.T, begin, from, gone time.Time) {
	t.Helper()
	const delivery = 100 * time.Millisecond // to another watcher than ours
	w.get.since(t, gone.Add(delivery), 50)  // by then, what began before has ended
	lines := slices.DeleteFunc(w.get.since(t, begin.Add(-requestTimeout), 50), func(r request) bool {
		return r.Start.Add(r.took()).Before(begin.Round(0))
	})
	var slowest, last time.Duration
	vain := 0
	for _, r := range lines {
		if r.Addr == w.addrs[0] && r.Start.Before(gone) && r.Start.Sub(from) > slack/10 {
			t.Errorf("request %d was answered by %s, which does not run", r.Request, r.Addr)
		}
		if r.asked(w.addrs[0]) && r.Start.After(gone.Add(delivery+slack)) {
			t.Errorf("request %d went to %s %v after its record was gone", r.Request, w.addrs[0], r.Start.Sub(gone))
		}
		if !r.failedAt(w.addrs[0]) {
			continue
		}
		vain++
		slowest = max(slowest, r.took())
		last = max(last, r.Start.Sub(from)) // the first may have begun before it
	}
	if vain == 0 {
		t.Errorf("of %d requests none went to the dead server: this has shown nothing", len(lines))
	}
	measured.Duration(t, "slowest request that met the dead server", "one dial timeout, 0.5 s", slowest)
	measured.Duration(t, "last request that met the dead server", "Dmax + W", last)
	if slowest > dialTimeout+slack {
		t.Errorf("a request took %v, more than a dial timeout of %v", slowest, dialTimeout)
	}
}

// restarted: the new process takes the record over from the session of the old one,
// which runs out later, and is not waited for.
func restarted(w *world, t, owner *testing.T) {
	mark := w.all(t, slack)
	w.serves[0].Kill()
	dead := time.Now()
	w.serve(t, owner, 0)
	took := time.Since(dead)
	measured.Duration(t, "killed, then announced again after", "start of the process + 3R", took)
	if took > ttl {
		t.Errorf("announced again after %v: that is no sooner than the old session runs out", took)
	}
	w.seen.quiet(w.dmax + slack)
	w.seen.neverWithout(t, mark, w.addrs...)
}

// stoppedBriefly: for less than the TTL minus a renewal interval.
func stoppedBriefly(w *world, t, _ *testing.T) {
	const pause = ttl / 2
	mark := w.all(t, slack)
	w.serves[0].Pause(t)
	stopped := time.Now()
	w.seen.quiet(pause)
	w.serves[0].Continue(t)
	continued := time.Now()
	w.seen.quiet(w.dmax)
	w.seen.neverWithout(t, mark, w.addrs...)
	slowest := time.Duration(0)
	for _, r := range w.get.since(t, stopped, 10) {
		slowest = max(slowest, r.took())
	}
	measured.Duration(t, "stopped for", "less than 2/3 T", continued.Sub(stopped))
	measured.Duration(t, "slowest request meanwhile", "one dial timeout, 0.5 s", slowest)
	if slowest > dialTimeout+slack {
		t.Errorf("a request took %v, more than a dial timeout of %v", slowest, dialTimeout)
	}
}

// stoppedForLong: it is taken for dead, and is back when it goes on.
func stoppedForLong(w *world, t, _ *testing.T) {
	w.all(t, slack)
	begin := time.Now()
	w.serves[0].Pause(t)
	dead := time.Now()
	gone := w.seen.until(t, w.dmax+slack, w.without(0)...)
	w.mustGo(t, gone.at.Sub(dead))
	w.mustAvoid(t, begin, dead, gone.at)

	w.seen.quiet(ttl)
	w.serves[0].Continue(t)
	continued := time.Now()
	there := w.seen.until(t, back+slack, w.addrs...)
	measured.Duration(t, "continued, then back after", "3/2 B + T/3", there.at.Sub(continued))
	mark := w.seen.mark()
	w.seen.quiet(w.dmax)
	w.seen.neverWithout(t, mark, w.addrs...)
}

// drained: it is withdrawn before it stops to answer.
func drained(w *world, t, owner *testing.T) {
	w.all(t, slack)
	begin := time.Now()
	w.serves[0].Terminate(t)
	gone := w.seen.until(t, slack, w.without(0)...)
	measured.Duration(t, "record gone after", "R + W", gone.at.Sub(begin))
	w.serves[0].ended(t)
	ended := time.Now()
	for _, r := range w.get.since(t, begin, 10) {
		if r.failedAt(w.addrs[0]) {
			t.Errorf("request %d found %s gone while it drained: %v", r.Request, w.addrs[0], r.Failed)
		}
	}
	for _, r := range w.get.since(t, ended, 50) {
		if r.asked(w.addrs[0]) {
			t.Errorf("request %d went to %s %v after its end", r.Request, w.addrs[0], r.Start.Sub(ended))
		}
	}
	w.serve(t, owner, 0)
}

// registryRestarted: a server dies, and then the registry as well, for less than the
// TTL or a little more. It starts every session's clock anew.
func registryRestarted(w *world, t, owner *testing.T) {
	mark := w.all(t, slack)
	w.serves[0].Kill()
	dead := time.Now()
	w.reg.Kill(t)
	w.reg.Start(t)
	up := time.Now()
	measured.Duration(t, "registry away for", "", up.Sub(dead))
	gone := w.seen.until(t, max(back, w.anew+w.dmax)+slack, w.without(0)...)
	measured.Duration(t, "record gone after the registry's return", "E + Dmax", gone.at.Sub(up))
	w.seen.quiet(w.dmax)
	w.seen.neverWithout(t, mark, w.without(0)...)
	w.serve(t, owner, 0)
	w.all(t, slack)
}
