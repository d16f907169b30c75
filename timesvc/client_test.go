package timesvc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/internal/pipenet"
	"github.com/go-rollcall/registry/timesvc"
)

func TestClientAsksAll(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for _, addr := range []string{"h:1", "h:2", "h:3"} {
			w.serve(addr, nil)
		}
		c, conn := w.client(timesvc.ClientOptions{})
		by := map[string]int{}
		var before int
		for k := range 300 {
			a, err := c.Get(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			by[a.Addr]++
			if k == 0 {
				synctest.Wait() // until the view is set up
				before = conn.Requests()
			}
		}
		for _, addr := range []string{"h:1", "h:2", "h:3"} {
			if by[addr] < 50 {
				t.Errorf("picked %v: not at random", by)
			}
		}
		if n := conn.Requests() - before; n != 0 {
			t.Errorf("299 requests for the time made %d to the registry", n)
		}
	})
}

func TestDrainFailsNoRequest(t *testing.T) { // promise 47
	bubble(t, func(t *testing.T, w *world) {
		a, b := w.serve("h:1", nil), w.serve("h:2", nil)
		c, _ := w.client(timesvc.ClientOptions{})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan int)
		go func() {
			n := 0
			for ; ctx.Err() == nil; n++ {
				got, err := c.Get(t.Context())
				if err != nil || got.Tries != 1 {
					t.Errorf("request %d: %+v, %v: want the first instance to answer", n, got, err)
				}
				select {
				case <-time.After(time.Millisecond):
				case <-ctx.Done():
				}
			}
			ended <- n
		}()
		a.stop()
		<-a.done
		w.serve("h:3", nil)
		b.stop()
		<-b.done
		stop()
		if n := <-ended; n < 1900 {
			t.Errorf("only %d requests in two drains of 1 s", n)
		}
	})
}

func TestStoppedWithoutWarning(t *testing.T) { // promise 45
	for _, how := range []string{"refuses", "does not answer the dial", "accepts and is silent", "accepts and breaks off", "sends half a line"} {
		t.Run(how, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				const limit = 300 * time.Millisecond
				s := w.serve("h:1", nil)
				w.serve("h:2", nil)
				c, _ := w.client(timesvc.ClientOptions{TryTimeout: limit})
				if _, err := c.Get(t.Context()); err != nil {
					t.Fatal(err)
				}
				s.Close()
				<-s.done
				if how != "refuses" {
					l := w.Listen("h:1")
					defer l.Close()
					if how != "does not answer the dial" {
						go misbehave(l, how)
					}
				}
				retried := false
				for range 40 {
					a, err := c.Get(t.Context())
					if err != nil || a.Addr != "h:2" || a.Latency > limit {
						t.Fatalf("%+v, %v: want an answer by h:2 within %v", a, err, limit)
					}
					if len(a.Failed) != a.Tries-1 || a.Tries > 1 && (a.Failed[0].Addr != "h:1" || a.Failed[0].Err == nil) {
						t.Fatalf("%d tries, and before the last: %v; want h:1 and why", a.Tries, a.Failed)
					}
					retried = retried || a.Tries == 2
				}
				if !retried {
					t.Error("the stopped server was never tried: the case has shown nothing")
				}
			})
		})
	}
}

// misbehave accepts connections until l is closed.
func misbehave(l *pipenet.Listener, how string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		switch how {
		case "accepts and breaks off":
			c.Close()
		case "sends half a line":
			io.WriteString(c, "h:1: 2000-01-01T0")
			c.Close()
		}
	}
}

func TestLastInstanceHasTheWholeTime(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.store.Plant(service, "h:1", nil)
		l := w.Listen("h:1")
		go func() {
			c, err := l.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			time.Sleep(time.Second)
			io.WriteString(c, "slow\r\n")
			c.Close()
		}()
		c, _ := w.client(timesvc.ClientOptions{Timeout: 2 * time.Second, TryTimeout: time.Millisecond})
		a, err := c.Get(t.Context())
		if err != nil || a.Text != "slow" || a.Latency != time.Second {
			t.Errorf("%+v, %v", a, err)
		}
	})
}

func TestNobodyAnswers(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for i := range 8 {
			w.store.Plant(service, fmt.Sprintf("h:%d", i+1), nil)
		}
		dialled := map[string]int{}
		c, _ := w.client(timesvc.ClientOptions{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			dialled[addr]++
			return w.Dial(ctx, network, addr)
		}})
		_, err := c.Get(t.Context())
		if err == nil || !strings.Contains(err.Error(), "none of 8 instances") || !strings.Contains(err.Error(), "and 3 more") ||
			!strings.Contains(err.Error(), `"go_servers"`) || !strings.Contains(err.Error(), "refused") {
			t.Errorf("error %v", err)
		}
		if len(dialled) != 8 {
			t.Errorf("dialled %v, want each of 8", dialled)
		}
		for addr, n := range dialled {
			if n != 1 {
				t.Errorf("%s was dialled %d times in a request", addr, n)
			}
		}
	})
}

func TestRequestTimeoutAndCancel(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.store.Plant(service, "h:1", nil)
		l := w.Listen("h:1")
		defer l.Close()
		go misbehave(l, "accepts and is silent")
		c, _ := w.client(timesvc.ClientOptions{Timeout: 3 * time.Second})
		start := time.Now()
		_, err := c.Get(t.Context())
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 3*time.Second || !strings.Contains(err.Error(), "h:1: ") {
			t.Errorf("%v after %v, want DeadlineExceeded after 3s, naming h:1", err, time.Since(start))
		}

		gone := errors.New("no longer wanted")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(gone) })
		start = time.Now()
		if _, err := c.Get(ctx); !errors.Is(err, gone) || time.Since(start) != time.Second {
			t.Errorf("%v after %v, want the cause of ctx at once", err, time.Since(start))
		}
	})
}

func TestNoInstances(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		c, conn := w.client(timesvc.ClientOptions{})
		for range 2 {
			if _, err := c.Get(t.Context()); !errors.Is(err, timesvc.ErrNoInstances) || !strings.Contains(err.Error(), `"go_servers"`) {
				t.Errorf("%v, want ErrNoInstances, naming the service", err)
			}
		}
		synctest.Wait() // until the view is set up
		conn.Cut()
		time.Sleep(time.Minute) // the watch is no longer confirmed
		if _, err := c.Get(t.Context()); !errors.Is(err, timesvc.ErrNoInstances) || !strings.Contains(err.Error(), "as far as is known") {
			t.Errorf("%v, want it to say that the empty list is not confirmed", err)
		}
		conn.Heal()
		w.serve("h:1", nil)
		time.Sleep(time.Minute)
		if _, err := c.Get(t.Context()); err != nil {
			t.Errorf("a server has come: %v", err)
		}
	})
}

func TestRegistryOutage(t *testing.T) { // promise 46
	bubble(t, func(t *testing.T, w *world) {
		w.serve("h:1", nil)
		w.serve("h:2", nil)
		c, conn := w.client(timesvc.ClientOptions{})
		if _, err := c.Get(t.Context()); err != nil {
			t.Fatal(err)
		}
		conn.Cut()
		for range 3600 {
			time.Sleep(time.Second)
			if a, err := c.Get(t.Context()); err != nil || a.Latency != 0 {
				t.Fatalf("%+v, %v", a, err)
			}
		}
	})
}

func TestFirstSnapshot(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.serve("h:1", nil)
		reg, conn := w.registry()
		conn.Cut()
		c := timesvc.NewClient(reg, service, &timesvc.ClientOptions{Dial: w.Dial, Timeout: 5 * time.Second})
		defer c.Close()
		start := time.Now()
		_, err := c.Get(t.Context())
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 5*time.Second || !strings.Contains(err.Error(), "last: ") {
			t.Errorf("%v after %v, want DeadlineExceeded after 5s, and what the registry's trouble was", err, time.Since(start))
		}
		time.AfterFunc(time.Second, conn.Heal)
		if _, err := c.Get(t.Context()); err != nil {
			t.Errorf("the registry has come back within the request: %v", err)
		}
	})
}

// A registry that refuses is asked again at a pace of its own, whoever asks for the time.
func TestDeniedThenAllowed(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.serve("h:1", nil)
		reg, conn := w.registry()
		conn.Deny() // before anybody asks
		c := timesvc.NewClient(reg, service, &timesvc.ClientOptions{Dial: w.Dial, Logger: slog.New(slog.DiscardHandler)})
		defer c.Close()
		const asked = 3600
		for range asked {
			time.Sleep(time.Second)
			if _, err := c.Get(t.Context()); !errors.Is(err, registry.ErrDenied) {
				t.Fatalf("%v, want ErrDenied", err)
			}
		}
		if n, limit := conn.Requests(), int(asked*time.Second/registry.MaxBackoff); n > limit {
			t.Errorf("%d requests to a registry that refuses, want %d at most", n, limit)
		}
		conn.Allow()
		time.Sleep(3 * registry.MaxBackoff / 2)
		for range 3 {
			if _, err := c.Get(t.Context()); err != nil {
				t.Errorf("allowed again: %v", err)
			}
		}
		conn.Deny()
		conn.Cut()
		conn.Heal()
		for range 60 {
			time.Sleep(time.Second)
			if _, err := c.Get(t.Context()); err != nil {
				t.Fatalf("refused when the servers were known: %v", err)
			}
		}
	})
}

func TestClosed(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.serve("h:1", nil)
		c, _ := w.client(timesvc.ClientOptions{})
		if _, err := c.Get(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			if _, err := c.Get(t.Context()); !errors.Is(err, registry.ErrClosed) {
				t.Errorf("client closed: %v", err)
			}
		}

		reg, _ := w.registry()
		c = timesvc.NewClient(reg, service, &timesvc.ClientOptions{Dial: w.Dial})
		defer c.Close()
		if _, err := c.Get(t.Context()); err != nil {
			t.Fatal(err)
		}
		reg.Close()
		synctest.Wait()
		if _, err := c.Get(t.Context()); !errors.Is(err, registry.ErrClosed) {
			t.Errorf("registry closed: %v", err)
		}
	})
}
