package timesvc_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/timesvc"
)

func overHTTP(r *running) { r.HTTP = true }

// browser returns an HTTP client in the bubble, whose connections end with it.
func (w *world) browser() *http.Client {
	tr := &http.Transport{DialContext: w.Dial}
	w.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// ask returns what the server says to a request, and keeps the connection.
func ask(t *testing.T, c *http.Client, method, url string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestHTTPAnswersAndDrains(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.serve("h:1", overHTTP)
		c := w.browser()
		resp, body := ask(t, c, "GET", "http://h:1/")
		addr, text, ok := strings.Cut(strings.TrimSuffix(body, "\n"), ": ")
		told, err := time.Parse(time.RFC3339Nano, text)
		if !ok || resp.StatusCode != http.StatusOK || addr != "h:1" || err != nil || !told.Equal(time.Now()) || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") {
			t.Errorf("status %d, answer %q, error %v: want <address>: <time>", resp.StatusCode, body, err)
		}
		for _, tt := range []struct {
			method, path string
			status       int
		}{{"HEAD", "/", 200}, {"GET", "/healthz", 200}, {"POST", "/", 405}, {"POST", "/healthz", 405}, {"GET", "/other", 404}} {
			if resp, _ := ask(t, c, tt.method, "http://h:1"+tt.path); resp.StatusCode != tt.status || resp.Close {
				t.Errorf("%s %s: status %d, closing %v; want %d, and to go on", tt.method, tt.path, resp.StatusCode, resp.Close, tt.status)
			}
		}
		if got := w.announced(); got != "[h:1]" {
			t.Errorf("announced %s", got)
		}

		start := time.Now()
		s.stop()
		synctest.Wait()
		if got := w.announced(); got != "[]" {
			t.Errorf("draining, but announced: %s", got)
		}
		if resp, body := ask(t, c, "GET", "http://h:1/healthz"); resp.StatusCode != http.StatusServiceUnavailable || !resp.Close {
			t.Errorf("draining: health is %d %q, closing %v; want 503, closing", resp.StatusCode, body, resp.Close)
		}
		if resp, body := ask(t, c, "GET", "http://h:1/"); resp.StatusCode != http.StatusOK || !strings.HasPrefix(body, "h:1: ") || !resp.Close {
			t.Errorf("draining, but to those who have not heard: %d %q, closing %v", resp.StatusCode, body, resp.Close)
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
	})
}

// Whoever keeps a connection open, or is slow with a request, has his time and no more.
func TestHTTPFinishes(t *testing.T) {
	for name, tt := range map[string]struct {
		sent string
		most time.Duration
	}{
		"nothing":        {"", 2 * time.Second},
		"half a request": {"GET / HTTP/1.1\r\nHost:", 2 * time.Second},
		"an idle one":    {"GET / HTTP/1.1\r\nHost: h\r\n\r\n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				s := w.serve("h:1", func(r *running) { r.HTTP, r.Drain = true, -1 })
				conn, err := w.Dial(t.Context(), "tcp", "h:1")
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				go io.Copy(io.Discard, conn)
				if _, err := io.WriteString(conn, tt.sent); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				start := time.Now()
				s.stop()
				if err := <-s.done; err != nil || time.Since(start) > tt.most {
					t.Errorf("%v after %v, want %v at most", err, time.Since(start), tt.most)
				}
			})
		})
	}
}

func TestHTTPCloseIsACrash(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.serve("h:1", overHTTP)
		c := w.browser()
		ask(t, c, "GET", "http://h:1/")
		s.Close()
		if err := <-s.done; !errors.Is(err, timesvc.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
		if resp, err := c.Get("http://h:1/"); err == nil {
			resp.Body.Close()
			t.Error("it answers")
		}
		if got := w.announced(); got != "[h:1]" {
			t.Errorf("announced %s: a crash withdraws nothing", got)
		}
	})
}

func TestHTTPServeReturnsWhy(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		old := w.serve("h:1", func(r *running) { r.HTTP, r.ID = true, "one" })
		w.serve("h:2", func(r *running) { r.HTTP, r.ID = true, "one" })
		if resp, _ := ask(t, w.browser(), "GET", "http://h:1/healthz"); resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("superseded, and its health is %d", resp.StatusCode)
		}
		if err := <-old.done; !errors.Is(err, registry.ErrSuperseded) {
			t.Error(err)
		}
		s := w.serve("h:3", overHTTP)
		s.l.Close()
		if err := <-s.done; err == nil || !strings.Contains(err.Error(), "listener on h:3 has failed") {
			t.Errorf("somebody closed the listener: %v", err)
		}
		if got := w.announced(); got != "[h:2]" {
			t.Errorf("announced %s, where nobody can connect to h:3", got)
		}
	})
}

func TestHTTPLimit(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.serve("h:1", func(r *running) { r.HTTP, r.MaxConns = true, 2 })
		for range 2 {
			ask(t, w.browser(), "GET", "http://h:1/") // and keeps its connection
		}
		start := time.Now()
		ask(t, w.browser(), "GET", "http://h:1/")
		if d := time.Since(start); d < 20*time.Second || d > 40*time.Second {
			t.Errorf("held up for %v, want 30s, until idle connections end", d)
		}
	})
}
