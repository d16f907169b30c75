package registry_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/memreg"
)

// A silent backend does not renew its sessions any more, once it is away, and notes each
// try.
type silent struct {
	registry.Backend
	away  *atomic.Bool
	tried func()
}

func (b silent) NewSession(ctx context.Context, ttl time.Duration) (registry.Session, error) {
	s, err := b.Backend.NewSession(ctx, ttl)
	return silentSession{s, b}, err
}

type silentSession struct {
	registry.Session
	silent
}

func (s silentSession) Renew(ctx context.Context) error {
	if !s.away.Load() {
		return s.Session.Renew(ctx)
	}
	s.tried()
	return errors.New("away")
}

// Guard does not see what has become of the session.
func (s silentSession) Guard(ctx context.Context, _ func(service, id string)) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestRenewalsInAnOutage: the tries of clients that have lost the registry together spread.
func TestRenewalsInAnOutage(t *testing.T) {
	const (
		ttl     = 10 * time.Second
		clients = 1000
		window  = 100 * time.Millisecond
		mean    = clients * float64(window) / float64(ttl) * 32 / 3 // a try every 3/32 of the TTL
	)
	synctest.Test(t, func(t *testing.T) {
		var away atomic.Bool
		var mu sync.Mutex
		tries := map[time.Duration]int{} // in each window
		began := time.Now()
		for range clients {
			b := silent{memreg.NewStore().Conn(), &away, func() {
				mu.Lock()
				defer mu.Unlock()
				tries[time.Since(began)/window]++
			}}
			reg := registry.New(b, &registry.Options{TTL: ttl, Logger: quiet.Logger})
			defer reg.Close()
			register(t, reg, 1)
		}
		away.Store(true)
		time.Sleep(5 * ttl)
		mu.Lock()
		defer mu.Unlock()
		most, all := 0, 0
		for at, n := range tries {
			if at >= 3*ttl/window { // they have spread
				most = max(most, n)
				all += n
			}
		}
		if float64(most) > 1.7*mean {
			t.Errorf("%d tries within %v, want about %.0f", most, window, mean)
		}
		if per := float64(all) / float64(2*ttl/window); per < 0.9*mean || per > 1.1*mean {
			t.Errorf("%.0f tries in %v on average, want about %.0f", per, window, mean)
		}
	})
}

// TestRefusedRenewals: what is refused is not asked for more often than anything else that is.
func TestRefusedRenewals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int32
		link := memreg.NewStore().Conn()
		reg := registry.New(link, &registry.Options{Logger: quiet.Logger, Observe: func(e registry.Event) {
			if e.Op == "renew" {
				tries.Add(1)
			}
		}})
		defer reg.Close()
		r := register(t, reg, 1)
		link.Deny()
		time.Sleep(r.TTL() - time.Millisecond)
		if n := tries.Load(); n < 2 || n > 4 {
			t.Errorf("%d tries in a TTL, want one every %v or more", n, registry.MaxBackoff)
		}
		link.Allow()
	})
}
