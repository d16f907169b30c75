package httpreg_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-rollcall/registry/balance"
	"github.com/go-rollcall/registry/httpreg"
)

// What the balancer is told of a response.

// A response that Options.Failed calls a failure is returned, and its instance left out.
func TestFailedResponse(t *testing.T) {
	w := newWorld(t)
	w.serve("a", func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusServiceUnavailable) })
	w.serve("b", echo)
	client := w.blaming(httpreg.Options{Failed: func(resp *http.Response) error {
		if resp.StatusCode == http.StatusServiceUnavailable {
			return errors.New(resp.Status)
		}
		return nil
	}})
	n := 0
	for range 10 {
		resp, err := client.Get("http://go_servers/")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d of 10 requests went to an instance that fails, want 1", n)
	}
}

// spy is P2C, whose nodes can be looked at.
type spy struct {
	balance.Policy
	node atomic.Pointer[balance.Node]
}

func (s *spy) Prepare(set []*balance.Node) func(balance.Request) int {
	s.node.Store(set[0])
	return s.Policy.Prepare(set)
}

// The latency of a stream is that of its beginning.
func TestLatencyOfAStream(t *testing.T) {
	w := newWorld(t)
	end := make(chan struct{})
	w.serve("a", func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stream" {
			_ = http.NewResponseController(rw).Flush()
			<-end
		}
	})
	p := &spy{Policy: balance.P2C()}
	tr := httpreg.NewTransport(w.reg, &httpreg.Options{Policy: func() balance.Policy { return p }})
	t.Cleanup(func() { tr.Close() })
	client := &http.Client{Transport: tr}
	if err := get(t, client, time.Minute); err != nil { // the first one makes the connection, and does not count
		t.Fatal(err)
	}
	resp, err := client.Get("http://go_servers/stream")
	if err != nil {
		t.Fatal(err)
	}
	known := p.node.Load().Latency()
	if known == 0 || p.node.Load().InFlight() != 1 {
		t.Errorf("once the stream has begun the latency is %v, with %d in flight", known, p.node.Load().InFlight())
	}
	close(end)
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Error(err)
	}
	resp.Body.Close()
	if n := p.node.Load(); n.Latency() != known || n.InFlight() != 0 {
		t.Errorf("after the stream the latency is %v, and was %v, with %d in flight", n.Latency(), known, n.InFlight())
	}
}

// Who closes a stream while he reads it blames nobody; and a stream has two halves.
func TestStreamClosedByItsReader(t *testing.T) {
	w := newWorld(t)
	sent := make(chan string, 1)
	w.serve("a", func(rw http.ResponseWriter, _ *http.Request) {
		conn, buf, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: stream\r\n\r\n")
		b, _ := io.ReadAll(buf)
		sent <- string(b)
		_, _ = conn.Read(make([]byte, 1)) // it has nothing to say
	})
	w.serve("b", echo)
	var log bytes.Buffer
	tr := httpreg.NewTransport(w.reg, &httpreg.Options{
		Policy:  func() balance.Policy { return inOrder{} },
		Balance: &balance.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))},
	})
	t.Cleanup(func() { tr.Close() })
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://go_servers/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "stream")
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	stream := resp.Body.(interface {
		io.ReadWriteCloser
		CloseWrite() error
	})
	read := make(chan error, 1)
	go func() {
		_, err := stream.Read(make([]byte, 1))
		read <- err
	}()
	if _, err := io.WriteString(stream, "all"); err != nil {
		t.Error(err)
	}
	if err := stream.CloseWrite(); err != nil {
		t.Error(err)
	}
	if got := <-sent; got != "all" {
		t.Errorf("the server got %q", got)
	}
	_ = stream.Close()
	if err := <-read; err == nil {
		t.Error("a Read of what was closed")
	}
	if err := tr.Close(); err != nil || log.Len() > 0 {
		t.Errorf("%v; %s", err, &log)
	}
}
