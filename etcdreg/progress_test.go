package etcdreg_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/etcdreg"
	"github.com/go-rollcall/registry/internal/testserver"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// slowLink returns an address at which server is to be had, whatever it says some time
// later.
func slowLink(t *testing.T, server string, delay time.Duration) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var links sync.WaitGroup
	t.Cleanup(func() { l.Close(); links.Wait() })
	links.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			links.Go(func() {
				defer client.Close()
				server, err := net.Dial("tcp", server)
				if err != nil {
					return
				}
				defer server.Close()
				links.Go(func() { _, _ = io.Copy(server, client); server.Close() })
				underWay := make(chan said, 1<<16)
				links.Go(func() {
					defer client.Close()
					for s := range underWay {
						time.Sleep(time.Until(s.at.Add(delay)))
						_, _ = client.Write(s.bytes)
					}
				})
				defer close(underWay)
				for buf := make([]byte, 32<<10); ; {
					n, err := server.Read(buf)
					underWay <- said{time.Now(), slices.Clone(buf[:n])}
					if err != nil {
						return
					}
				}
			})
		}
	})
	return l.Addr().String()
}

type said struct {
	at    time.Time
	bytes []byte
}

// ids is a sink that keeps which records there are.
type ids struct {
	mu    sync.Mutex
	there map[string]bool
	begun chan struct{}
}

func (s *ids) Reset(recs []registry.Record, version string) {
	s.Apply(recs, nil, version)
	close(s.begun)
}

func (s *ids) Apply(put []registry.Record, gone []string, _ string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range gone {
		delete(s.there, id)
	}
	for _, rec := range put {
		s.there[rec.ID] = true
	}
}

func (s *ids) has(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.there[id]
}

// TestAnswerToAnEarlierQuestion: on a slow link Current asks several times, and an answer
// to an earlier question says nothing of what has happened since.
func TestAnswerToAnEarlierQuestion(t *testing.T) {
	t.Parallel()
	e := testserver.SharedEtcd(t)
	admin, root := e.Admin(t), "/"+t.Name()
	user, password := admin.User(t, root)
	t.Cleanup(func() { admin.Delete(t, root) })
	config := clientv3.Config{Username: user, Password: password}
	b := etcdreg.New([]string{slowLink(t, e.Addr(), 600*time.Millisecond)}, &etcdreg.Options{Root: root, Config: config})
	t.Cleanup(func() { _ = b.Close() })

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel()
	services := []string{"s", "other"} // which share a stream, and what is said on it
	sinks := map[string]*ids{}
	for _, service := range services {
		s := &ids{there: map[string]bool{}, begun: make(chan struct{})}
		sinks[service] = s
		watch.Go(func() { _ = b.Watch(ctx, service, s) })
		select {
		case <-s.begun:
		case <-ctx.Done():
			t.Fatal("no set")
		}
	}
	for n := range 6 {
		id := fmt.Sprintf("h:%d", n+1)
		service := services[n/2%2]
		admin.Set(t, root+"/"+service+"/"+id, nil)
		same, err := b.Current(ctx, service, "")
		if err != nil {
			t.Fatal(err)
		}
		if same && !sinks[service].has(id) {
			t.Errorf("question %d: the watch of %s is said to have brought all that was there at the question, but it has not brought %s", n+1, service, id)
		}
	}
}
