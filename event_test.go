package registry_test

import (
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/memreg"
)

// A counter counts Events.
type counter struct {
	mu     sync.Mutex
	kinds  map[registry.EventKind]int
	ops    map[string]int // of Retrying
	causes map[registry.EventKind]error
}

func (c *counter) observe(ev registry.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kinds[ev.Kind]++
	c.causes[ev.Kind] = ev.Err
	if ev.Kind == registry.Retrying {
		c.ops[ev.Op]++
	}
}

// reset returns what was counted, and begins anew.
func (c *counter) reset() (kinds map[registry.EventKind]int, ops map[string]int, causes map[registry.EventKind]error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kinds, ops, causes = c.kinds, c.ops, c.causes
	c.kinds, c.ops, c.causes = map[registry.EventKind]int{}, map[string]int{}, map[registry.EventKind]error{}
	return kinds, ops, causes
}

func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c counter
		c.reset()
		store := memreg.NewStore()
		link := store.Conn()
		reg := registry.New(link, &registry.Options{Logger: slog.New(slog.DiscardHandler), Observe: c.observe})
		want := func(when string, kind registry.EventKind, n int, got map[registry.EventKind]int) {
			t.Helper()
			if got[kind] != n {
				t.Errorf("%s: %d events of kind %d, want %d; all: %v", when, got[kind], kind, n, got)
			}
		}
		for _, addr := range []string{"a:1", "a:2", "a:3"} {
			if _, err := reg.Register(t.Context(), registry.Instance{Service: "svc", Addr: addr}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		kinds, _, _ := c.reset()
		want("registered", registry.SessionOpened, 1, kinds)
		want("registered", registry.RecordWritten, 3, kinds)
		want("registered", registry.RecordLost, 0, kinds)

		link.Expire()
		time.Sleep(time.Minute)
		kinds, _, causes := c.reset()
		want("expired", registry.SessionOver, 1, kinds)
		want("expired", registry.SessionOpened, 1, kinds)
		want("expired", registry.RecordLost, 3, kinds)
		want("expired", registry.RecordWritten, 3, kinds)
		if !errors.Is(causes[registry.SessionOver], registry.ErrSessionLost) || !errors.Is(causes[registry.RecordLost], registry.ErrSessionLost) {
			t.Errorf("causes %v, want the loss of the session", causes)
		}

		store.Remove("svc", "a:2")
		time.Sleep(time.Minute)
		kinds, _, _ = c.reset()
		want("deleted by somebody", registry.RecordLost, 1, kinds)
		want("deleted by somebody", registry.RecordWritten, 1, kinds)
		want("deleted by somebody", registry.SessionOver, 0, kinds)

		link.Cut()
		reg.Lookup(t.Context(), "svc") // gives up after the TTL
		time.Sleep(time.Minute)
		kinds, ops, _ := c.reset()
		if ops["renew"] < 20 || ops["lookup"] < 3 || kinds[registry.Retrying] != ops["renew"]+ops["lookup"]+ops["guard"] {
			t.Errorf("cut off for a minute: tried again: %v", ops)
		}
		link.Heal()
		time.Sleep(time.Minute)
		c.reset()

		reg.Close()
		kinds, _, causes = c.reset()
		want("closed", registry.SessionOver, 1, kinds)
		want("closed", registry.RecordLost, 0, kinds)
		if !errors.Is(causes[registry.SessionOver], registry.ErrClosed) {
			t.Errorf("cause %v, want ErrClosed", causes[registry.SessionOver])
		}
	})
}
