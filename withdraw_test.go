package registry_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/memreg"
)

// TestCloseAfterWithdrawalInVain: of a withdrawal that nobody has confirmed Close says so,
// until the record must be gone or was written over.
func TestCloseAfterWithdrawalInVain(t *testing.T) {
	for _, c := range []struct {
		name      string
		then      func(t *testing.T, reg registry.Registry)
		confirmed bool
	}{
		{"at once", func(t *testing.T, reg registry.Registry) {}, false},
		{"with another registered since then", func(t *testing.T, reg registry.Registry) { register(t, reg, 2) }, false},
		{"with another registered for long", func(t *testing.T, reg registry.Registry) {
			r := register(t, reg, 2)
			time.Sleep(6 * r.TTL())
		}, true},
		{"written over", func(t *testing.T, reg registry.Registry) { register(t, reg, 1) }, true},
		{"written over and withdrawn", func(t *testing.T, reg registry.Registry) {
			if err := register(t, reg, 1).Deregister(t.Context()); err != nil {
				t.Error(err)
			}
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				link := memreg.NewStore().Conn()
				reg := registry.New(link, quiet)
				r := register(t, reg, 1)
				link.Cut()
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := r.Deregister(ctx); err == nil {
					t.Fatal("confirmed, while the link was cut")
				}
				time.Sleep(time.Second)
				link.Heal()
				c.then(t, reg)
				if err := reg.Close(); (err == nil) != c.confirmed {
					t.Errorf("Close: %v; want it confirmed: %v", err, c.confirmed)
				}
			})
		})
	}
}

// TestRegisteredTwiceAtOnce: of two registrations of one name that wait together, the newer
// is made, and the older one's Register says what has become of it.
func TestRegisteredTwiceAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := memreg.NewStore().Conn()
		reg := registry.New(link, quiet)
		defer reg.Close()
		link.Cut()
		var errs [2]error
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { _, errs[i] = reg.Register(t.Context(), instance(1)) })
			synctest.Wait()
		}
		link.Heal()
		wg.Wait()
		if !errors.Is(errs[0], registry.ErrSuperseded) || errs[1] != nil {
			t.Errorf("the older: %v, the newer: %v", errs[0], errs[1])
		}
	})
}

// TestCloseWithNothingLeft: where all withdrawals were confirmed, it is no matter that the
// end of the session is not.
func TestCloseWithNothingLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := memreg.NewStore().Conn()
		reg := registry.New(link, quiet)
		if err := register(t, reg, 1).Deregister(t.Context()); err != nil {
			t.Error(err)
		}
		link.Cut()
		if err := reg.Close(); err != nil {
			t.Errorf("Close: %v, and nothing was registered", err)
		}
	})
}

// TestDeregisterOfTheReplaced: a registration that a newer one of its own Registry has
// replaced is gone when the newer one was written over it, and not as soon as that begins.
func TestDeregisterOfTheReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := memreg.NewStore().Conn()
		reg := registry.New(link, quiet)
		defer reg.Close()
		old := register(t, reg, 1)
		deregister := func(when string, confirmed bool) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := old.Deregister(ctx); (err == nil) != confirmed {
				t.Errorf("%s: Deregister of the old one: %v; want it confirmed: %v", when, err, confirmed)
			}
		}
		link.Cut()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		var newer sync.WaitGroup
		newer.Go(func() {
			if _, err := reg.Register(ctx, old.Instance()); err == nil {
				t.Error("registered, while the link was cut")
			}
		})
		synctest.Wait()
		deregister("while the newer one waits", false)
		newer.Wait()
		deregister("when the newer one has failed", false)
		time.Sleep(time.Minute)
		deregister("when the session was given up", false)
		link.Heal()
		r := register(t, reg, 1)
		deregister("when another was written over it", true)
		if r.Err() != nil {
			t.Errorf("the newest, after a Deregister of the old one: %v", r.Err())
		}
	})
}

// A doubtful backend takes a session for lost that it cannot renew, and nobody confirms
// that.
type doubtful struct{ *memreg.Conn }

func (b doubtful) NewSession(ctx context.Context, ttl time.Duration) (registry.Session, error) {
	s, err := b.Conn.NewSession(ctx, ttl)
	return doubtfulSession{s}, err
}

type doubtfulSession struct{ registry.Session }

func (s doubtfulSession) Renew(ctx context.Context) error {
	if err := s.Session.Renew(ctx); err != nil {
		return fmt.Errorf("%w: %w", registry.ErrSessionLost, err)
	}
	return nil
}

// TestCloseAfterTakeover: what a session may have left is of no concern any more when it is
// somebody else's.
func TestCloseAfterTakeover(t *testing.T) {
	for _, taken := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			store := memreg.NewStore()
			link := doubtful{store.Conn()}
			reg := registry.New(link, quiet)
			r := register(t, reg, 1)
			kept := register(t, reg, 2)
			link.Cut()
			time.Sleep(r.TTL() / 2)
			if taken {
				newer := registry.New(store.Conn(), quiet)
				defer newer.Close()
				register(t, newer, 1)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if !taken {
				if err := r.Deregister(ctx); err == nil {
					t.Fatal("confirmed, while the link was cut")
				}
			}
			link.Heal()
			for kept.Err() != nil {
				time.Sleep(time.Millisecond)
			}
			if taken {
				<-r.Done()
			}
			if err := reg.Close(); (err == nil) != taken {
				t.Errorf("Close: %v; want it confirmed: %v", err, taken)
			}
		})
	}
}

// slowDelete lets the Deletes of its sessions wait for a word.
type slowDelete struct {
	*memreg.Conn
	begun, goOn chan struct{}
}

func (b slowDelete) NewSession(ctx context.Context, ttl time.Duration) (registry.Session, error) {
	s, err := b.Conn.NewSession(ctx, ttl)
	return slowDeleteSession{s, b}, err
}

type slowDeleteSession struct {
	registry.Session
	b slowDelete
}

func (s slowDeleteSession) Delete(ctx context.Context, recs []registry.Record) []error {
	s.b.begun <- struct{}{}
	<-s.b.goOn
	return s.Session.Delete(ctx, recs)
}

// TestReplacedDuringAWithdrawal: of two registrations that came and went while an earlier one
// was being withdrawn, both Registers return.
func TestReplacedDuringAWithdrawal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := slowDelete{memreg.NewStore().Conn(), make(chan struct{}, 9), make(chan struct{})}
		reg := registry.New(b, quiet)
		register(t, reg, 2)
		r := register(t, reg, 1)
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := r.Deregister(t.Context()); err != nil {
				t.Errorf("Deregister: %v", err)
			}
		})
		<-b.begun
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			if _, err := reg.Register(ctx, instance(1)); !errors.Is(err, registry.ErrSuperseded) {
				t.Errorf("the older: %v, want ErrSuperseded", err)
			}
		})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := reg.Register(ctx, instance(1)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the newer: %v, want DeadlineExceeded", err)
		}
		close(b.goOn)
		wg.Wait()
		if err := reg.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestDeregisterAfterClose: what Close could not confirm, Deregister does not confirm either.
func TestDeregisterAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := memreg.NewStore().Conn()
		reg := registry.New(link, quiet)
		r := register(t, reg, 1)
		link.Freeze()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Deregister(ctx); err == nil {
			t.Fatal("confirmed, over a link that is frozen")
		}
		synctest.Wait() // the session is being given up
		if err := reg.Close(); err == nil {
			t.Error("Close has confirmed it")
		}
		if err := r.Deregister(t.Context()); err == nil {
			t.Error("Deregister has confirmed what Close has not")
		}
	})
}
