package balance_test

import (
	"context"
	"fmt"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-rollcall/registry/balance"
)

// load sends requests by so many at once, until there were picks of them, to servers of
// which each takes its time.
func load(s *scene, b *balance.Balancer, atOnce, picks int, takes map[string]time.Duration) map[string]int {
	got := map[string]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for {
				mu.Lock()
				picks--
				over := picks < 0
				mu.Unlock()
				if over {
					return
				}
				p, err := b.Pick(context.Background())
				if err != nil {
					s.Error(err)
					return
				}
				id := p.Instance().ID
				mu.Lock()
				got[id]++
				mu.Unlock()
				time.Sleep(takes[id])
				p.Done(nil)
			}
		})
	}
	wg.Wait()
	return got
}

// TestP2CShares: servers that are alike get alike, within 2 %.
func TestP2CShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const picks, n = 100_000, 3
		s := of(t, n)
		b := s.balancer(n, balance.P2C(), nil)
		takes := map[string]time.Duration{id(0): 10 * time.Millisecond, id(1): 10 * time.Millisecond, id(2): 10 * time.Millisecond}
		got := load(s, b, 16, picks, takes)
		for id, c := range got {
			if math.Abs(float64(c)-picks/n) > 0.02*picks/n {
				t.Errorf("%s got %d of %d", id, c, picks)
			}
		}
		t.Log(got)
	})
}

// TestP2CSparesTheSlow: a server that is ten times slower gets less than a fifth of its
// fair share; when it has recovered, it gets a fair one again.
func TestP2CSparesTheSlow(t *testing.T) {
	for _, atOnce := range []int{1, 4, 16, 64} {
		t.Run(fmt.Sprint(atOnce), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const picks, n = 20_000, 4
				s := of(t, n)
				b := s.balancer(n, balance.P2C(), nil)
				takes := map[string]time.Duration{}
				for i := range n {
					takes[id(i)] = 10 * time.Millisecond
				}
				takes[id(1)] *= 10
				got := load(s, b, atOnce, picks, takes)
				share := float64(got[id(1)]) / picks * n
				t.Logf("%d at once: %v: the slow one gets %.1f %% of a fair share", atOnce, got, 100*share)
				if share >= 0.2 {
					t.Errorf("the slow one gets %.1f %% of a fair share", 100*share)
				}
				takes[id(1)] /= 10
				load(s, b, atOnce, 10_000*atOnce, takes) // 100 s or so
				got = load(s, b, atOnce, picks, takes)
				if got[id(1)] < picks/n*9/10 {
					t.Errorf("it has recovered, and gets %v", got)
				}
			})
		})
	}
}

// TestP2CForgivesTheFirst: that the first request to an instance took two hundred times as
// long as others do, since it made the connection, is of no consequence.
func TestP2CForgivesTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, atOnce, picks = 3, 4, 3000
		s := of(t, n)
		b := s.balancer(n, balance.P2C(), nil)
		takes := map[string]time.Duration{}
		for i := range n {
			takes[id(i)] = 10 * time.Millisecond
		}
		takes[id(1)] *= 200
		for load(s, b, 1, 1, takes)[id(1)] == 0 {
		}
		takes[id(1)] /= 200
		if got := load(s, b, atOnce, picks, takes); got[id(1)] < picks/n*9/10 {
			t.Errorf("after a slow first request it gets %v", got)
		}
	})
}

// TestP2CForgets: one request that took two hundred times as long as others do keeps an
// instance out for less than a minute.
func TestP2CForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, atOnce = 3, 4
		s := of(t, n)
		b := s.balancer(n, balance.P2C(), nil)
		takes := map[string]time.Duration{}
		for i := range n {
			takes[id(i)] = 10 * time.Millisecond
		}
		load(s, b, atOnce, 1000, takes)
		takes[id(1)] *= 200
		for load(s, b, 1, 1, takes)[id(1)] == 0 {
		}
		takes[id(1)] /= 200
		load(s, b, atOnce, 100*60*atOnce, takes) // a minute
		const picks = 3000
		if got := load(s, b, atOnce, picks, takes); got[id(1)] < picks/n*8/10 {
			t.Errorf("a minute after its slow start it gets %v", got)
		}
	})
}

// TestP2CCountsWhatIsInFlight: requests that do not end do not pile up.
func TestP2CCountsWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 10
		s := of(t, n)
		b := s.balancer(n, balance.P2C(), nil)
		takes := map[string]time.Duration{}
		for i := range n {
			takes[id(i)] = 10 * time.Millisecond
		}
		load(s, b, 16, 1000, takes)
		for range 20 {
			flying, got := []balance.Picked{}, map[string]int{}
			for range 4 * n {
				p, err := b.Pick(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				flying = append(flying, p)
				got[p.Instance().ID]++
			}
			for i := range n {
				if got[id(i)] > 7 { // at random, one in two or three times
					t.Fatalf("40 requests at once: %v", got)
				}
			}
			time.Sleep(10 * time.Millisecond)
			for _, p := range flying {
				p.Done(nil)
			}
		}
	})
}

// TestPickAllocatesNothing, and neither does Done.
func TestPickAllocatesNothing(t *testing.T) {
	for _, n := range []int{10, 10_000} {
		s := of(t, n)
		for name, p := range policies() {
			b := s.balancer(n, p, nil)
			s.pick(b, balance.Request{})
			r := balance.Request{Key: "key", Tried: []string{id(1), id(2)}}
			if allocs := testing.AllocsPerRun(1000, func() {
				p, err := b.Pick(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				p.Done(nil)
				p, err = b.PickFor(context.Background(), r)
				if err != nil {
					t.Fatal(err)
				}
				p.Done(nil)
			}); allocs != 0 {
				t.Errorf("%s among %d: %v allocations", name, n, allocs)
			}
		}
	}
}

func policies() map[string]balance.Policy {
	return map[string]balance.Policy{
		"random": balance.Random(), "round robin": balance.RoundRobin(), "weighted": balance.Weighted(), "p2c": balance.P2C(),
		"hash": balance.Hash(), "zone": balance.Zone("a", balance.P2C()),
	}
}

// TestUnderChange: the set changes every millisecond, instances fail, and each pick is of
// one that was there just now.
func TestUnderChange(t *testing.T) {
	for name, p := range policies() {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			for i := range 40 {
				s.put(id(i), "zone", []string{"a", "b"}[i%2], "weight", fmt.Sprint(i%4))
			}
			b := s.balancer(40, p, nil)
			stop := make(chan struct{})
			var wg sync.WaitGroup
			for range 2 {
				wg.Go(func() {
					for i := 0; ; i++ {
						select {
						case <-stop:
							return
						default:
						}
						p, err := b.PickFor(context.Background(), keyed(i))
						if err != nil {
							t.Error(err)
							return
						}
						if i%500 == 0 {
							p.Done(errBroken)
						} else {
							p.Done(nil)
						}
					}
				})
			}
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for i := range 100 {
				<-tick.C
				switch {
				case i%3 == 0:
					s.store.Remove(service, id(i%40))
				default:
					s.put(id(i*7%40), "zone", []string{"a", "b"}[i%2], "weight", fmt.Sprint(i%4))
				}
			}
			close(stop)
			wg.Wait()
		})
	}
}

// TestAnswered: what comes after the beginning of the answer is no latency.
func TestAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := of(t, 1)
		var n *balance.Node
		b := s.balancer(1, seen{&n}, nil)
		for range 2 { // the first has made its connection, and says nothing
			p, err := b.Pick(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Millisecond)
			p.Answered()
			time.Sleep(time.Hour)
			if n.InFlight() != 1 {
				t.Errorf("%d in flight before Done, want 1", n.InFlight())
			}
			p.Done(nil)
		}
		if n.Latency() != 20*time.Millisecond || n.InFlight() != 0 {
			t.Errorf("latency %v, %d in flight; want 20ms, 0", n.Latency(), n.InFlight())
		}
	})
}
