package regbench

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
)

// A bench is what one benchmark works in: a place of its own. All that it opens is
// closed at the end.
type bench struct {
	*testing.B
	Place
	s       Subject
	ctx     context.Context
	readers sync.WaitGroup // goroutines that read a watch until ctx ends
}

func (s Subject) bench(b *testing.B) *bench {
	root := "/" + strings.NewReplacer("/", "-", "=", "-").Replace(b.Name())
	e := &bench{B: b, s: s, Place: s.Place(b, root)}
	var cancel context.CancelFunc
	e.ctx, cancel = context.WithCancel(context.Background())
	b.Cleanup(func() { cancel(); e.readers.Wait() })
	return e
}

// must ends a benchmark whose scene cannot be set.
func (e *bench) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

// open makes a Registry. What goes over its connections is counted by m.
func (e *bench) open(m *Meter, ttl time.Duration) registry.Registry {
	reg := e.registry(m, ttl)
	e.Cleanup(func() { reg.Close() })
	return reg
}

// registry is open, for one that is closed before the end.
func (e *bench) registry(m *Meter, ttl time.Duration) registry.Registry {
	return registry.New(e.Backend(m), &registry.Options{TTL: ttl, Logger: slog.New(slog.DiscardHandler)})
}

// connect makes a raw client. What goes over its connections is counted by m.
func (e *bench) connect(m *Meter, service string) Client {
	e.Helper()
	c, err := e.Connect(m, service)
	e.must(err)
	e.Cleanup(c.Close)
	return c
}

// populate writes recs in batches, as many at a time as the backend would.
func (e *bench) populate(c Client, recs []registry.Record) error {
	return e.write(c, recs, false, e.s.InFlight)
}

func (e *bench) write(c Client, recs []registry.Record, there bool, inFlight int) error {
	batches := slices.Collect(slices.Chunk(recs, e.s.Batch))
	return Parallel(len(batches), inFlight, func(i int) error { return c.Write(batches[i], there) })
}

// register has so many callers register all of ins.
func (e *bench) register(reg registry.Registry, ins []registry.Instance, callers int) error {
	return Parallel(len(ins), callers, func(i int) error {
		_, err := reg.Register(e.ctx, ins[i])
		return err
	})
}

// addr is different for each i, and so is the ID, which it is as well.
func addr(i int) string {
	return fmt.Sprintf("10.%d.%d.%d:8897", i/62_500, i/250%250, i%250)
}

// zone is what updates change. It has the same length for each k.
func zone(k int) string { return fmt.Sprintf("%06d", k) }

func instances(service string, n int) []registry.Instance {
	ins := make([]registry.Instance, n)
	for i := range ins {
		ins[i] = instance(service, i, zone(0))
	}
	return ins
}

func instance(service string, i int, zone string) registry.Instance {
	return registry.Instance{Service: service, Addr: addr(i), Meta: map[string]string{"zone": zone}}
}

func records(n, k int) []registry.Record {
	recs := make([]registry.Record, n)
	for i := range recs {
		recs[i] = record(i, zone(k))
	}
	return recs
}

// record has as many bytes as ours has for the instance. The name of the owner is
// different for each, since some of what is sent is compressed.
func record(i int, zone string) registry.Record {
	hash := sha256.Sum256([]byte(addr(i)))
	owner := base32.StdEncoding.EncodeToString(hash[:])[:26]
	return registry.Record{ID: addr(i), Value: fmt.Appendf(nil, `{"addr":%q,"meta":{"zone":%q},"owner":%q}`, addr(i), zone, owner)}
}

// Parallel calls f for 0 to n-1, so many at once, and returns the first error.
func Parallel(n, atOnce int, f func(i int) error) error {
	var wg sync.WaitGroup
	var next atomic.Int64
	var first error
	var once sync.Once
	for range min(n, atOnce) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := f(i); err != nil {
					once.Do(func() { first = err })
					return
				}
			}
		})
	}
	wg.Wait()
	return first
}
