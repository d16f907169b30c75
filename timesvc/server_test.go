package timesvc_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/timesvc"
)

func TestServeAnswersAndDrains(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.serve("h:1", nil)
		c, _ := w.client(timesvc.ClientOptions{})
		a, err := c.Get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		addr, text, ok := strings.Cut(a.Text, ": ")
		told, err := time.Parse(time.RFC3339Nano, text)
		if !ok || addr != "h:1" || a.Addr != "h:1" || err != nil || !told.Equal(time.Now()) || a.Tries != 1 {
			t.Errorf("answer %+v, error %v: want <address>: <time>", a, err)
		}
		if len(text) != len("2000-01-01T00:00:00.000000000Z") {
			t.Errorf("time %q: want all nine digits of the nanoseconds", text)
		}

		start := time.Now()
		s.stop()
		synctest.Wait()
		if got := w.announced(); got != "[]" {
			t.Errorf("draining, but announced: %s", got)
		}
		if conn, err := w.Dial(t.Context(), "tcp", "h:1"); err != nil {
			t.Errorf("draining, but no answer to those who have not heard: %v", err)
		} else if b, err := io.ReadAll(conn); err != nil || len(b) == 0 {
			t.Errorf("draining: answer %q, error %v", b, err)
		}
		if err := <-s.done; err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("drained for %v, want 1s", took)
		}
		if _, err := w.Dial(t.Context(), "tcp", "h:1"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("Serve has returned and the listener is open: %v", err)
		}
		if !w.log.has("service=go_servers instance=h:1") {
			t.Errorf("log lines do not name service and instance:\n%s", &w.log)
		}
	})
}

func TestDrainNegativeIsNone(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.serve("h:1", func(r *running) { r.Drain = -1 })
		start := time.Now()
		s.stop()
		if err := <-s.done; err != nil || time.Since(start) != 0 {
			t.Errorf("error %v after %v, want none at once", err, time.Since(start))
		}
	})
}

func TestWithdrawalUnconfirmed(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.serve("h:1", nil)
		s.conn.Cut()
		start := time.Now()
		s.stop()
		if err := <-s.done; err != nil {
			t.Errorf("an outage is no error of the server's: %v", err)
		}
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("took %v, want 2s for the withdrawal and 1s to drain", took)
		}
		if !w.log.has("withdrawal unconfirmed") {
			t.Errorf("not logged:\n%s", &w.log)
		}
	})
}

// A second signal is the program's to catch; Close is what it can call.
func TestCloseEndsDrain(t *testing.T) {
	for _, phase := range []string{"withdrawing", "draining"} {
		t.Run(phase, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				s := w.serve("h:1", func(r *running) { r.Drain = time.Hour })
				if phase == "withdrawing" {
					s.conn.Cut()
				}
				s.stop()
				synctest.Wait()
				start := time.Now()
				s.Close()
				s.Close()
				if err := <-s.done; !errors.Is(err, timesvc.ErrServerClosed) || time.Since(start) != 0 {
					t.Errorf("Serve: %v after %v, want ErrServerClosed at once", err, time.Since(start))
				}
			})
		})
	}
}

func TestCloseIsACrash(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.serve("h:1", nil)
		open, err := w.Dial(t.Context(), "tcp", "h:1") // reads nothing yet
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s.Close()
		if err := <-s.done; !errors.Is(err, timesvc.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
		if b, err := io.ReadAll(open); err != nil || len(b) != 0 {
			t.Errorf("read %q, %v of a connection that was to be cut", b, err)
		}
		if got := w.announced(); got != "[h:1]" {
			t.Errorf("announced %s: a crash withdraws nothing", got)
		}
	})
}

func TestServeOnce(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.serve("h:1", nil)
		l := w.Listen("h:2")
		if err := s.Serve(t.Context(), l); err == nil {
			t.Error("the second Serve was no error")
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Error("the second Serve left its listener open")
		}
		var closed timesvc.Server
		closed.Close()
		if err := closed.Serve(t.Context(), w.Listen("h:3")); !errors.Is(err, timesvc.ErrServerClosed) {
			t.Errorf("Serve after Close: %v", err)
		}
	})
}

func TestServeReturnsWhy(t *testing.T) {
	t.Run("superseded", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			old := w.serve("h:1", func(r *running) { r.ID = "one" })
			w.serve("h:2", func(r *running) { r.ID = "one" })
			start := time.Now()
			if err := <-old.done; !errors.Is(err, registry.ErrSuperseded) || time.Since(start) != time.Second {
				t.Errorf("%v after %v, want ErrSuperseded after the drain", err, time.Since(start))
			}
			if got := w.announced(); got != "[h:2]" {
				t.Errorf("announced %s", got)
			}
		})
	})
	t.Run("registry closed", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			s := w.serve("h:1", nil)
			s.Registry.Close()
			if err := <-s.done; !errors.Is(err, registry.ErrClosed) {
				t.Error(err)
			}
		})
	})
	t.Run("refused", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			s := w.serve("h:1", func(r *running) { r.conn.Deny() })
			if err := <-s.done; !errors.Is(err, registry.ErrDenied) {
				t.Error(err)
			}
		})
	})
	t.Run("listener closed by somebody else", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			s := w.serve("h:1", nil)
			s.l.Close()
			if err := <-s.done; !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
			if got := w.announced(); got != "[]" {
				t.Errorf("announced %s, where nobody can connect", got)
			}
		})
	})
}

func TestServeWhileRegistryIsAway(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.serve("h:1", func(r *running) { r.conn.Cut() })
		conn, err := w.Dial(t.Context(), "tcp", "h:1")
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(conn); err != nil || len(b) == 0 {
			t.Errorf("answer %q, error %v", b, err)
		}
		s.stop()
		if err := <-s.done; err != nil {
			t.Errorf("stopped on request: %v", err)
		}
		if !w.log.has("before it was announced") {
			t.Errorf("not logged:\n%s", &w.log)
		}
	})
}

func TestAcceptSurvivesExhaustion(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		calls := 0 // in the accept loop only
		until := time.Now().Add(time.Minute)
		s := w.serve("h:1", func(r *running) {
			r.l.Fail = func() error {
				calls++
				if time.Now().Before(until) {
					return &net.OpError{Op: "accept", Net: "tcp", Err: syscall.EMFILE}
				}
				return nil
			}
		})
		c, _ := w.client(timesvc.ClientOptions{Timeout: 2 * time.Minute})
		if _, err := c.Get(t.Context()); err != nil {
			t.Error(err)
		}
		s.stop()
		<-s.done
		if calls < 10 || calls > 80 {
			t.Errorf("%d tries to accept in a minute, want one a second after the first few", calls)
		}
		if n := strings.Count(w.log.String(), "trying again"); n != 1 {
			t.Errorf("logged %d times, want once:\n%s", n, &w.log)
		}
	})
}

func TestIdleClientsHoldNobodyUp(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.serve("h:1", func(r *running) { r.MaxConns = 2 })
		for range 2 {
			if _, err := w.Dial(t.Context(), "tcp", "h:1"); err != nil { // and never reads
				t.Fatal(err)
			}
		}
		synctest.Wait()
		waited := make(chan time.Duration)
		start := time.Now()
		go func() {
			conn, err := w.Dial(t.Context(), "tcp", "h:1")
			if err != nil {
				t.Error(err)
			} else if b, err := io.ReadAll(conn); err != nil || len(b) == 0 {
				t.Errorf("answer %q, error %v", b, err)
			}
			waited <- time.Since(start)
		}()
		synctest.Wait()
		select {
		case <-waited:
			t.Error("served above the limit")
		default:
		}
		if d := <-waited; d > 2*time.Second {
			t.Errorf("held up for %v, want 2s at most", d)
		}
	})
}

func TestAdvertise(t *testing.T) {
	for _, tt := range []struct{ listen, advertise, want string }{
		{"10.0.0.7:8897", "", "10.0.0.7:8897"},
		{"[::1]:8897", "", "[::1]:8897"},
		{"[::]:8897", "time.example:80", "time.example:80"},
		{"0.0.0.0:8897", "time.example:0", "time.example:8897"},
		{"0.0.0.0:8897", "[::1]:0", "[::1]:8897"},
		{"0.0.0.0:8897", "", "--advertise"},
		{"[::]:8897", "", "--advertise"},
		{"[::ffff:0.0.0.0]:8897", "", "--advertise"},
		{":8897", "", "--advertise"},
		{"h:1", "0.0.0.0:80", "--advertise"},
		{"h:1", ":80", "--advertise"},
		{"h:1", "h", "want host:port"},
		{"h:1", "h:70000", "65535"},
		{"h:1", "h:http", "65535"},
	} {
		t.Run(tt.listen+" as "+tt.advertise, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				s := w.serve(tt.listen, func(r *running) { r.Advertise = tt.advertise })
				select {
				case err := <-s.done:
					if !errors.Is(err, registry.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
						t.Errorf("error %v, want an ErrInvalid with %q", err, tt.want)
					}
					if _, err := s.l.Accept(); !errors.Is(err, net.ErrClosed) {
						t.Error("the listener was left open")
					}
				default:
					if got := w.announced(); got != "["+tt.want+"]" {
						t.Errorf("announced %s, want %s", got, tt.want)
					}
					conn, err := w.Dial(context.Background(), "tcp", tt.listen)
					if err != nil {
						t.Fatal(err)
					}
					if b, _ := io.ReadAll(conn); !strings.HasPrefix(string(b), tt.want+": ") {
						t.Errorf("answer %q, want the announced address first", b)
					}
				}
			})
		})
	}
}
