package timesvc_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/balance"
	"github.com/go-rollcall/registry/timesvc"
)

func TestPolicyAndKey(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for i := range 10 {
			w.serve(fmt.Sprintf("h:%d", i+1), nil)
		}
		by := map[string]string{} // key to server
		for key := range 20 {
			key := fmt.Sprint(key)
			for range 2 { // clients that have nothing in common but the key
				c, _ := w.client(timesvc.ClientOptions{Policy: balance.Hash(), Key: key})
				for range 10 {
					a, err := c.Get(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					if before := by[key]; before != "" && a.Addr != before {
						t.Fatalf("key %s went to %s, and before to %s", key, a.Addr, before)
					}
					by[key] = a.Addr
				}
			}
		}
		to := map[string]bool{}
		for _, addr := range by {
			to[addr] = true
		}
		if len(to) < 5 {
			t.Errorf("20 keys went to %d of 10 servers", len(to))
		}
	})
}

// A server that failed is left out for a while, and then asked again.
func TestFailedIsLeftOut(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.store.Plant(service, "dead:1", nil)
		w.serve("h:1", nil)
		w.serve("h:2", nil)
		c, _ := w.client(timesvc.ClientOptions{Policy: balance.RoundRobin()})
		asked := func(d time.Duration) (n int) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
				a, err := c.Get(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				n += len(a.Failed)
			}
			return n
		}
		if n := asked(time.Second); n != 1 {
			t.Errorf("a server that refuses was asked %d times in 1 s, want once", n)
		}
		if n := asked(time.Minute); n < 3 || n > 8 { // at 1 s, 2 s, 4 s, …, 30 s, and up to a quarter more
			t.Errorf("it was asked %d times in the next minute, want fewer and fewer", n)
		}
		w.serve("dead:1", nil)
		time.Sleep(time.Minute)
		back := false
		for range 3 {
			a, err := c.Get(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			back = back || a.Addr == "dead:1"
		}
		if !back {
			t.Error("it answers again, and gets no requests")
		}
	})
}

// A caller who gives up at once says nothing of the server, one who has waited does.
func TestCutShort(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.store.Plant(service, "silent:1", nil)
		l := w.Listen("silent:1") // where nobody accepts
		defer l.Close()
		w.serve("h:1", nil)
		c, _ := w.client(timesvc.ClientOptions{Policy: balance.RoundRobin(), TryTimeout: 100 * time.Millisecond})
		for range 100 {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			if _, err := c.Get(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			cancel()
		}
		a, err := c.Get(t.Context())
		if err == nil && a.Tries == 1 {
			a, err = c.Get(t.Context())
		}
		if err != nil || a.Tries != 2 || a.Failed[0].Addr != "silent:1" {
			t.Errorf("%+v, %v: want silent:1 asked, and then h:1", a, err)
		}
		for range 4 {
			if a, err := c.Get(t.Context()); err != nil || a.Tries != 1 {
				t.Errorf("%+v, %v: want silent:1 left out", a, err)
			}
		}
	})
}

// Who is left to try is not a matter of how many there are: some that were tried are gone.
func TestTriedAndGone(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for _, addr := range []string{"h:1", "h:2", "h:3"} {
			w.store.Plant(service, addr, nil)
		}
		var dialled []string
		c, _ := w.client(timesvc.ClientOptions{TryTimeout: 100 * time.Millisecond, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			dialled = append(dialled, addr)
			switch len(dialled) {
			case 1:
				w.store.Remove(service, addr)
				synctest.Wait()
				return nil, errors.New("going away")
			case 2:
				<-ctx.Done()
				return nil, context.Cause(ctx)
			}
			w.serve(addr, nil)
			return w.Dial(ctx, network, addr)
		}})
		a, err := c.Get(t.Context())
		if err != nil || a.Tries != 3 || a.Latency != 100*time.Millisecond {
			t.Errorf("%+v, %v; dialled %v: want the third to answer after one dial timeout", a, err, dialled)
		}
		if slices.Sort(dialled); len(slices.Compact(dialled)) != 3 {
			t.Errorf("dialled %v, want each once", dialled)
		}
	})
}

func TestBeginsWithCache(t *testing.T) {
	dir := t.TempDir()
	bubble(t, func(t *testing.T, w *world) {
		w.serve("h:1", nil)
		for _, tt := range []struct {
			cut   bool
			cache string
			want  string // of the error
		}{
			{true, dir, "last: "}, // there is no file yet
			{false, dir, ""},
			{true, dir, ""},
			{true, "", "last: "},
		} {
			reg, conn := w.registry()
			if tt.cut {
				conn.Cut()
			}
			c := timesvc.NewClient(reg, service, &timesvc.ClientOptions{Dial: w.Dial, Cache: tt.cache})
			start := time.Now()
			_, err := c.Get(t.Context())
			took := time.Since(start)
			c.Close()
			switch {
			case tt.want == "" && (err != nil || took != 0):
				t.Errorf("%+v: %v after %v, want an answer at once", tt, err, took)
			case tt.want != "" && (!errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("%+v: %v, want DeadlineExceeded, and what the registry's trouble was", tt, err)
			}
		}
	})
}

func TestBadName(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		reg, _ := w.registry()
		c := timesvc.NewClient(reg, "a/b", nil)
		for range 2 {
			if _, err := c.Get(t.Context()); !errors.Is(err, registry.ErrInvalid) || !strings.Contains(err.Error(), `"a/b"`) {
				t.Errorf("%v, want ErrInvalid, naming the service", err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}
