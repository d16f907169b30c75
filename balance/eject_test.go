package balance_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/balance"
	"github.com/go-rollcall/registry/memreg"
)

var errBroken = errors.New("broken")

// TestLeftOut: an instance that fails is left out at once, for a time that doubles with
// each failure in a row, comes back by itself, and begins anew after a success.
func TestLeftOut(t *testing.T) {
	for name, policy := range map[string]func() balance.Policy{
		"random": balance.Random, "round robin": balance.RoundRobin, "weighted": balance.Weighted, "p2c": balance.P2C,
		"zone": func() balance.Policy { return balance.Zone("a", balance.Random()) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := of(t, 4)
				b := s.balancer(4, policy(), &balance.Options{MaxEject: 10 * time.Second})
				bad := id(2)
				p, _ := s.back(b, bad)
				for i, want := range []time.Duration{1, 2, 4, 8, 10, 10} {
					p.Done(errBroken)
					if got := s.count(b, 200, plain); got[bad] > 0 || len(got) != 3 {
						t.Fatalf("failure %d: %v", i+1, got)
					}
					var out time.Duration
					p, out = s.back(b, bad)
					if least := want * time.Second; out < least || out > least*5/4+10*time.Millisecond {
						t.Errorf("failure %d in a row: left out for %v, want %v and up to a quarter", i+1, out, least)
					}
				}
				p.Done(nil)
				p, _ = s.back(b, bad)
				p.Done(errBroken)
				if _, out := s.back(b, bad); out > 5*time.Second/4+10*time.Millisecond {
					t.Errorf("after a success: left out for %v", out)
				}
			})
		})
	}
}

// back waits until the instance is picked again.
func (s *scene) back(b *balance.Balancer, id string) (balance.Picked, time.Duration) {
	start := time.Now()
	for {
		for range 64 {
			p, err := b.Pick(context.Background())
			if err != nil {
				s.Fatal(err)
			}
			if p.Instance().ID == id {
				return p, time.Since(start)
			}
			p.Done(nil)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestOneOfManyFailures: of the requests that were under way when a server died, only
// the first failure counts, and a late success does not bring it back.
func TestOneOfManyFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := of(t, 3)
		b := s.balancer(3, balance.RoundRobin(), nil)
		var flying []balance.Picked
		for range 192 {
			p, err := b.Pick(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if p.Instance().ID == id(1) {
				flying = append(flying, p)
			} else {
				p.Done(nil)
			}
		}
		for _, p := range flying[:62] {
			p.Done(errBroken)
		}
		flying[62].Done(nil)
		if got := s.count(b, 100, plain); got[id(1)] > 0 {
			t.Errorf("a late success brought it back: %v", got)
		}
		time.Sleep(5*time.Second/4 + time.Millisecond)
		synctest.Wait()
		flying[63].Done(errBroken)
		if got := s.count(b, 99, plain); got[id(1)] != 33 {
			t.Errorf("a second later: %v", got)
		}
	})
}

// TestDrop: what says nothing of an instance is neither a failure nor a success, leaves its
// latency as it is, and is no longer under way. A failure is no latency either, where
// nothing else is known: who refuses at once is not fast.
func TestDrop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := of(t, 1)
		var n *balance.Node
		b := s.balancer(1, seen{&n}, nil)
		s.take(b, id(0)).Drop()
		if n.InFlight() != 0 || n.Latency() != 0 {
			t.Errorf("dropped: %d in flight, latency %v", n.InFlight(), n.Latency())
		}
		p := s.take(b, id(0))
		time.Sleep(time.Millisecond)
		p.Done(errBroken)
		if n.InFlight() != 0 || n.Latency() != 0 {
			t.Errorf("failed: %d in flight, latency %v", n.InFlight(), n.Latency())
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s := of(t, 4)
		b := s.balancer(4, balance.RoundRobin(), nil)
		s.take(b, id(2)).Drop()
		if got := s.count(b, 40, plain); got[id(2)] != 10 {
			t.Errorf("dropped: %v", got)
		}
		s.take(b, id(2)).Done(errBroken)
		p, _ := s.back(b, id(2))
		p.Drop() // the row of failures goes on
		s.take(b, id(2)).Done(errBroken)
		if _, out := s.back(b, id(2)); out < 2*time.Second {
			t.Errorf("a second failure in a row: left out for %v", out)
		}
	})
}

// seen shows the first node, and is one that measures.
type seen struct{ n **balance.Node }

func (seen) Measures() bool { return true }
func (p seen) Prepare(set []*balance.Node) func(balance.Request) int {
	*p.n = set[0]
	return func(balance.Request) int { return 0 }
}

// TestPanic: if too few are left, all are used; the last one is never left out.
func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := of(t, 4)
		b := s.balancer(4, balance.RoundRobin(), nil)
		for i, want := range []int{3, 2, 4, 4} { // those in use after so many failures
			s.take(b, id(i)).Done(errBroken)
			if got := s.flying(b, 40); len(got) != want {
				t.Errorf("%d of 4 failed: picks go to %v", i+1, got)
			}
		}
		s.take(b, id(0)).Done(nil) // two are well, and that is enough
		s.take(b, id(3)).Done(nil)
		if got := s.count(b, 40, plain); len(got) != 2 {
			t.Errorf("two are well again: %v", got)
		}
		s.put("drained1", "weight", "0") // who is drained is not one that stays
		s.put("drained2", "weight", "0")
		synctest.Wait()
		s.take(b, id(0)).Done(errBroken)
		if got := s.flying(b, 40); len(got) != 4 {
			t.Errorf("one of four, and two that are drained, is well: %v", got)
		}
		one := of(t, 1)
		b = one.balancer(1, balance.Hash(), &balance.Options{Panic: 0.01})
		one.take(b, id(0)).Done(errBroken)
		one.pick(b, balance.Request{})
	})
}

func TestLeftOutForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := of(t, 2)
		b := s.balancer(2, balance.RoundRobin(), &balance.Options{Eject: math.MaxInt64})
		s.take(b, id(0)).Done(errBroken)
		time.Sleep(time.Hour)
		if got := s.count(b, 10, plain); got[id(1)] != 10 {
			t.Errorf("picks go to %v", got)
		}
	})
}

// flying picks n times, and is done with none.
func (s *scene) flying(b *balance.Balancer, n int) map[string]int {
	got := map[string]int{}
	for range n {
		p, err := b.Pick(context.Background())
		if err != nil {
			s.Fatal(err)
		}
		got[p.Instance().ID]++
	}
	return got
}

// TestLeftOutStays: what is known of an instance outlasts changes of the others and of
// its metadata, but not of its address, as that is another server.
func TestLeftOutStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := of(t, 4)
		b := s.balancer(4, balance.Random(), nil)
		s.take(b, id(2)).Done(errBroken)
		s.store.Remove(service, id(0))
		s.put("another")
		s.put(id(2), "weight", "3")
		synctest.Wait()
		if got := s.count(b, 200, plain); got[id(2)] > 0 || got["another"] == 0 || len(got) != 3 {
			t.Errorf("picks go to %v", got)
		}
		s.store.Plant(service, id(2), []byte(`{"addr":"127.0.0.1:1"}`))
		synctest.Wait()
		if got := s.count(b, 200, plain); got[id(2)] == 0 {
			t.Errorf("at a new address: %v", got)
		}
	})
}

func TestRetries(t *testing.T) {
	for name, policy := range map[string]balance.Policy{
		"random": balance.Random(), "round robin": balance.RoundRobin(), "weighted": balance.Weighted(), "p2c": balance.P2C(),
		"hash": balance.Hash(), "zone": balance.Zone("a", balance.Hash()), "one's own": first{},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t)
				for i, zone := range []string{"a", "a", "a", "b", "b", "b"} {
					s.put(id(i), "zone", zone, "weight", []string{"1", "0"}[i/3])
				}
				b := s.balancer(6, policy, nil)
				for n := range 50 {
					r := balance.Request{Key: id(n)}
					for i := range 6 {
						p, err := b.PickFor(t.Context(), r)
						if err != nil {
							t.Fatal(err)
						}
						in := p.Instance()
						for _, id := range r.Tried {
							if id == in.ID {
								t.Fatalf("%s again, after %v", in.ID, r.Tried)
							}
						}
						if local := in.Meta["zone"] == "a"; local != (i < 3) { // the others are drained
							t.Errorf("try %d goes to %v", i+1, in)
						}
						r.Tried = append(r.Tried, in.ID)
						p.Done(nil)
					}
					if _, err := b.PickFor(t.Context(), r); !errors.Is(err, balance.ErrNone) {
						t.Errorf("all were tried: %v", err)
					}
				}
			})
		})
	}
}

// first is a policy of somebody who does not think of retries.
type first struct{}

func (first) Measures() bool { return false }
func (first) Prepare(set []*balance.Node) func(balance.Request) int {
	return func(balance.Request) int { return 0 }
}

// TestCloseEndsPicks: also those that wait for the first set.
func TestCloseEndsPicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memreg.NewStore()
		link := store.Conn()
		link.Cut()
		s := sceneBehind(t, store, link)
		b := balance.New(s.view, nil, &balance.Options{Logger: quiet})
		picked := make(chan error, 1)
		go func() {
			_, err := b.Pick(t.Context())
			picked <- err
		}()
		synctest.Wait()
		b.Close()
		if err := <-picked; !errors.Is(err, registry.ErrClosed) {
			t.Errorf("a pick under way: %v", err)
		}
		if _, err := b.Pick(t.Context()); !errors.Is(err, registry.ErrClosed) {
			t.Errorf("a pick after Close: %v", err)
		}
	})
}

func TestPickErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memreg.NewStore()
		link := store.Conn()
		link.Cut() // before the view has read anything
		s := sceneBehind(t, store, link)
		b := balance.New(s.view, nil, &balance.Options{Logger: quiet})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := b.Pick(ctx); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, balance.ErrNone) {
			t.Errorf("nothing is known: %v", err)
		}
		s.link.Heal()
		if _, err := b.Pick(t.Context()); !errors.Is(err, balance.ErrNone) || err.Error() != `balance: service "svc": no instance is registered` {
			t.Errorf("nobody is there: %v", err)
		}
		s.link.Cut()
		time.Sleep(time.Minute)
		if _, err := b.Pick(t.Context()); !errors.Is(err, balance.ErrNone) || s.view.Snapshot().Err == nil || !errors.Is(err, s.view.Snapshot().Err) {
			t.Errorf("nobody was there: %v", err)
		}
		s.link.Heal()
		s.put(id(0))
		s.shown(1)
		if got := s.pick(b, balance.Request{}); got != id(0) {
			t.Errorf("picked %s", got)
		}
		b.Close()
		if _, err := b.Pick(t.Context()); !errors.Is(err, registry.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
	})
}
