package etcdreg_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/etcdreg"
	"github.com/go-rollcall/registry/internal/testserver"
)

// TestGuardOfMany: a Registry that holds more keys than fit into an answer of 4 MiB, which is
// all that gRPC takes unless it is told otherwise, knows when it loses one.
func TestGuardOfMany(t *testing.T) {
	const n = 16000
	// Of its own, as one that asks for credentials looks at all keys of a lease for each.
	e := testserver.Own(t, "etcd", testserver.StartEtcd)
	root, service := "/"+t.Name(), strings.Repeat("s", 128)
	id := func(i int) string { return fmt.Sprintf("%0128d", i) }

	again := make(chan registry.Event, 8)
	observe := func(ev registry.Event) {
		if ev.ID == id(n/2) && ev.Kind != registry.Retrying {
			again <- ev
		}
	}
	reg := registry.New(etcdreg.New([]string{e.Addr()}, &etcdreg.Options{Root: root}), &registry.Options{Observe: observe})
	defer reg.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if _, err := reg.Register(ctx, registry.Instance{Service: service, ID: id(i), Addr: "127.0.0.1:8897"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	for i, want := range []registry.EventKind{registry.RecordWritten, registry.RecordLost, registry.RecordWritten} {
		select {
		case ev := <-again:
			if ev.Kind != want {
				t.Errorf("event %d is %v, want %v", i, ev.Kind, want)
			}
		case <-ctx.Done():
			t.Fatalf("event %d, which is to be %v, did not come", i, want)
		}
		if i == 0 {
			e.Admin(t).Delete(t, root+"/"+service+"/"+id(n/2))
		}
	}
}
