package registry

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// absent is a backend that opens no session.
type absent struct{ Backend }

func (absent) String() string { return "absent" }
func (absent) NewSession(context.Context, time.Duration) (Session, error) {
	return nil, context.DeadlineExceeded
}
func (absent) Close() error { return nil }

// Of registrations that were given up in an outage nothing is kept.
func TestGivenUpInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := New(absent{}, &Options{Logger: slog.New(slog.DiscardHandler)})
		lasting, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = reg.Register(lasting, Instance{Service: "svc", Addr: "h:1"})
		}()
		for range 1000 {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			_, _ = reg.Register(ctx, Instance{Service: "svc", Addr: "h:2"})
			cancel()
		}
		time.Sleep(2 * MaxBackoff)
		k := reg.(*core).keeper
		k.mu.Lock()
		if n := len(k.ready); n > 1 {
			t.Errorf("%d entries are kept for one registration", n)
		}
		k.mu.Unlock()
		cancel()
		<-done
		_ = reg.Close()
	})
}
