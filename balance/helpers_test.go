package balance_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/balance"
	"github.com/go-rollcall/registry/memreg"
)

const service = "svc"

var quiet = slog.New(slog.DiscardHandler)

// A scene is a registry in memory, a view of a service in it, and its link.
type scene struct {
	testing.TB
	store *memreg.Store
	link  *memreg.Conn
	view  *registry.View
}

func newScene(t testing.TB) *scene {
	store := memreg.NewStore()
	return sceneBehind(t, store, store.Conn())
}

// sceneBehind makes a scene whose view has that link to the store.
func sceneBehind(t testing.TB, store *memreg.Store, link *memreg.Conn) *scene {
	s := &scene{TB: t, store: store, link: link}
	reg := registry.New(s.link, &registry.Options{Logger: quiet})
	view, err := registry.Follow(context.Background(), reg, service, &registry.FollowOptions{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	s.view = view
	t.Cleanup(func() { view.Close(); _ = reg.Close() })
	return s
}

// of makes a scene with n instances, x00000 and so on.
func of(t testing.TB, n int) *scene {
	s := newScene(t)
	for i := range n {
		s.put(id(i))
	}
	return s
}

func id(i int) string { return fmt.Sprintf("x%05d", i) }

// put announces an instance, with metadata in pairs of key and value.
func (s *scene) put(id string, meta ...string) {
	m := map[string]string{}
	for i := 0; i+1 < len(meta); i += 2 {
		m[meta[i]] = meta[i+1]
	}
	value, err := json.Marshal(map[string]any{"addr": "127.0.0.1:8897", "meta": m})
	if err != nil {
		s.Fatal(err)
	}
	s.store.Plant(service, id, value)
}

// balancer picks among n instances from the start.
func (s *scene) balancer(n int, p balance.Policy, opts *balance.Options) *balance.Balancer {
	s.Helper()
	s.shown(n)
	if opts == nil {
		opts = &balance.Options{}
	}
	opts.Logger = quiet
	b := balance.New(s.view, p, opts)
	s.Cleanup(b.Close)
	return b
}

// shown waits until the view shows n instances.
func (s *scene) shown(n int) {
	for {
		changed := s.view.Changed()
		if snap := s.view.Snapshot(); !snap.Confirmed.IsZero() && len(snap.Instances) == n {
			return
		}
		<-changed
	}
}

// pick takes one for r, and is done with it.
func (s *scene) pick(b *balance.Balancer, r balance.Request) string {
	s.Helper()
	p, err := b.PickFor(context.Background(), r)
	if err != nil {
		s.Fatal(err)
	}
	p.Done(nil)
	return p.Instance().ID
}

// count picks n times.
func (s *scene) count(b *balance.Balancer, n int, r func(i int) balance.Request) map[string]int {
	s.Helper()
	got := map[string]int{}
	for i := range n {
		got[s.pick(b, r(i))]++
	}
	return got
}

func plain(int) balance.Request   { return balance.Request{} }
func keyed(i int) balance.Request { return balance.Request{Key: fmt.Sprint("key", i)} }

// take picks until it gets the instance; the requests to others stay under way.
func (s *scene) take(b *balance.Balancer, id string) balance.Picked {
	s.Helper()
	for range 10_000 {
		p, err := b.Pick(context.Background())
		if err != nil {
			s.Fatal(err)
		}
		if p.Instance().ID == id {
			return p
		}
	}
	s.Fatalf("%s was never picked", id)
	panic("unreachable")
}
