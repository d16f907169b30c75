// Package chaos puts a registry of three servers under fire, and checks that what
// the library promises holds all the same.
//
// A run has some thirty clients, each with a Registry and a way to the servers of its
// own, that register, take over, update, withdraw, look up and watch, and goes through
// rounds. Each round is a storm of faults, which are drawn from the seed and from
// nothing else; the healing of all of them; the settling, which has the time that the
// promises allow; and a calm. When a round has settled, every watcher must show what a
// fresh client looks up, and that must be what is wanted, and nothing else. What the
// clients saw of each record since the last round is checked by porcupine under the
// model of model.go, which DESIGN.md describes.
package chaos

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A Config says what is run.
type Config struct {
	Backend  string // zk, etcd, consul or mem
	Seed     uint64
	Duration time.Duration // of the rounds: the last one is gone through
	Clients  int           // defaultClients if 0, at most 64
	Dir      string        // for what is to be looked at when a run has failed, and the samples

	// Round and Faults, if Faults is not 0, leave only the first Faults faults of one
	// round, which is gone through again and again: for the shortest prefix of faults
	// that still makes a run fail.
	Round, Faults int
}

const defaultClients = 30

// A Violation is a promise that was not kept.
type Violation struct {
	After time.Duration // since the run began
	Round int
	What  string
}

func (v *Violation) Error() string {
	return fmt.Sprintf("VIOLATED after %v, in round %d: %s", v.After.Round(time.Millisecond), v.Round, v.What)
}

// A run is one run.
type run struct {
	cfg     Config
	t       testing.TB
	w       *world
	began   time.Time
	keys    []key
	clients []*client
	regs    *table
	history *history
	losses  *losses
	gate    sync.RWMutex // held for reading by those who operate: settling holds it for writing
	logs    *logs
	counts  counts
	n       int // of the round that is under way
	dumped  sync.Once

	assembled atomic.Bool // all that is never withdrawn is registered

	ctx  context.Context // ends with the first violation, or the run
	stop context.CancelCauseFunc
}

// A key is one record.
type key struct {
	service, id string
	owner       int // the client that alone registers it and never withdraws it; -1: anybody does
}

const (
	services  = 3
	contended = 5 // IDs for which clients compete, in each service
)

func makeKeys(clients int) (keys []key) {
	for s := range services {
		for i := range contended {
			keys = append(keys, key{fmt.Sprint("svc", s), fmt.Sprint("x", i), -1})
		}
	}
	for c := range clients {
		keys = append(keys, key{fmt.Sprint("svc", c%services), fmt.Sprint("own", c), c})
	}
	return keys
}

// Run makes a run, and returns the first violation, or nil. What is wrong with the run
// itself fails t.
func Run(t testing.TB, cfg Config) *Violation {
	cfg.Clients = cmp.Or(cfg.Clients, defaultClients)
	r := &run{cfg: cfg, t: t, began: time.Now(), keys: makeKeys(cfg.Clients), regs: &table{}, history: &history{}}
	r.ctx, r.stop = context.WithCancelCause(t.Context())
	defer r.stop(nil)
	r.losses = newLosses(cfg.Clients)
	r.logs = newLogs(cfg.Dir)
	defer r.logs.close()
	r.w = newWorld(t, cfg.Backend)
	for n := range cfg.Clients {
		r.clients = append(r.clients, newClient(r, n))
	}
	var wg sync.WaitGroup
	background, end := context.WithCancel(r.ctx)
	wg.Go(func() { r.losses.watchStalls(background, r.w.ttl/8, r.now) })
	if r.w.cluster != nil {
		wg.Go(func() { r.watchServers(background, r.w.ttl/8) })
	}
	if r.w.failedExpiries != nil {
		wg.Go(func() { r.watchExpiries(background) })
	}
	samples := newSamples(cfg.Dir)
	wg.Go(func() { samples.collect(background, r.now) })
	for _, c := range r.clients {
		wg.Go(func() { c.drive(background) })
	}
	r.assemble()
	r.assembled.Store(true)
	for n := cfg.Round; r.ctx.Err() == nil && time.Since(r.began) < cfg.Duration; n++ {
		r.n = n
		if cfg.Faults > 0 {
			r.n = cfg.Round
		}
		r.round(samples)
	}
	end()
	wg.Wait()
	r.leave()
	samples.finish(t)
	r.report()
	var v *Violation
	errors.As(context.Cause(r.ctx), &v)
	return v
}

// now is the time since the run began, which is the clock of everything here.
func (r *run) now() time.Duration { return time.Since(r.began) }

// violated notes a violation, which ends the run if it is the first.
func (r *run) violated(format string, args ...any) {
	r.stop(&Violation{r.now(), r.n, fmt.Sprintf(format, args...)})
	r.logs.say("VIOLATED: "+format, args...)
	r.dumped.Do(r.evidence)
}

// evidence writes what else may tell how the first violation came about.
func (r *run) evidence() {
	if f, err := os.Create(filepath.Join(r.cfg.Dir, "goroutines.txt")); err == nil {
		defer f.Close()
		_ = pprof.Lookup("goroutine").WriteTo(f, 2)
	}
	r.dump(filepath.Join(r.cfg.Dir, "operations.txt"), r.history.sofar())
	if r.w.cluster == nil {
		return
	}
	for i := range r.w.cluster.size() {
		if log, err := r.w.cluster.log(i); err == nil {
			_ = os.WriteFile(filepath.Join(r.cfg.Dir, fmt.Sprintf("member-%d.log", i)), log, 0o644)
		}
	}
}

// wait returns after d, or sooner if the run ends.
func (r *run) wait(d time.Duration) bool { return pause(r.ctx, d) }

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
