package conformance

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-rollcall/registry"
)

// herd: many clients, and what they do together.
var herd = []testCase{
	{name: "many-come-back-together", promise: 24, needs: link, run: func(e *env) {
		const n = 20
		var all []Client
		var opened, wrote moments
		for range n {
			all = append(all, e.client(func(o *registry.Options) {
				o.Observe = func(ev registry.Event) {
					switch {
					case ev.Kind == registry.SessionOpened || ev.Kind == registry.Retrying && ev.Op == "session":
						opened.add()
					case ev.Kind == registry.RecordWritten || ev.Kind == registry.Retrying && ev.Op == "register":
						wrote.add()
					}
				}
			}))
		}
		w := e.watch(e.client())
		var waits []func(time.Duration) error
		for i, c := range all {
			waits = append(waits, e.start(func() error {
				_, err := c.Registry.Register(e.ctx(e.back()), instance(fmt.Sprint("x", i)))
				return err
			}))
		}
		for i, wait := range waits {
			if err := wait(e.back()); err != nil {
				e.Fatalf("register x%d: %v", i, err)
			}
		}
		whole := func(s registry.Snapshot) bool { return s.Err == nil && len(s.Instances) == n }
		w.until(e.h.TTL, "all", whole)
		for _, c := range all {
			c.Cut()
		}
		w.set(e.h.Dmax, "")
		w.quiet(2 * registry.MaxBackoff) // their pauses are as long as they become
		opened.forget()
		wrote.forget()
		for _, c := range all {
			c.Heal()
		}
		w.until(e.back(), "all again", whole)
		for _, m := range []struct {
			what string
			*moments
		}{{"sessions asked for", &opened}, {"writings", &wrote}} {
			most := m.most(time.Second)
			if most == 0 {
				e.Errorf("Options.Observe was told of no %s", m.what)
			}
			if most > 2*n {
				e.Errorf("%d %s in a second, by %d clients", most, m.what, n)
			}
			// They are the same moments for all where nothing is left to chance.
			if most := m.most(registry.MaxBackoff / 20); e.h.Virtual && most > n/2 {
				e.Errorf("%d %s within %v, by %d clients", most, m.what, registry.MaxBackoff/20, n)
			}
		}
	}},
}

// moments are when something has happened.
type moments struct {
	mu  sync.Mutex
	all []time.Time
}

func (m *moments) add() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = append(m.all, time.Now())
}

func (m *moments) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = nil
}

// most returns how many there are within d of each other, at most.
func (m *moments) most(d time.Duration) (most int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	slices.SortFunc(m.all, time.Time.Compare)
	from := 0
	for to, t := range m.all {
		for t.Sub(m.all[from]) > d {
			from++
		}
		most = max(most, to-from+1)
	}
	return most
}
