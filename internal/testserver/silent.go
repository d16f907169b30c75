package testserver

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/conformance"
)

// LeavesSilentServers has a Registry with a short TTL do nothing but watch, over two links to
// the server at addr, of which first one falls silent and then the other: it has to move on.
func LeavesSilentServers(t *testing.T, addr string, open func(servers ...string) registry.Backend) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	owner := registry.New(open(addr), nil)
	defer func() { _ = owner.Close() }()
	links := []*conformance.Proxy{conformance.NewProxy(t, addr), conformance.NewProxy(t, addr)}
	reg := registry.New(open(links[0].Addr(), links[1].Addr()), &registry.Options{TTL: 500 * time.Millisecond})
	defer func() { _ = reg.Close() }()
	const service = "watched"
	for silent := range links {
		id := fmt.Sprint("x", silent)
		if _, err := owner.Register(ctx, registry.Instance{Service: service, ID: id, Addr: "h:1"}); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for snap, err := range reg.Watch(ctx, service) {
		if err != nil {
			t.Fatalf("after %d links have fallen silent: %v", n, err)
		}
		if snap.Err != nil || len(snap.Instances) != 2+n {
			continue
		}
		if n == len(links) {
			return
		}
		if n > 0 {
			links[n-1].Heal()
		}
		links[n].Freeze()
		n++
		in := registry.Instance{Service: service, ID: fmt.Sprint("y", n), Addr: "h:1"}
		if _, err := owner.Register(ctx, in); err != nil {
			t.Fatal(err)
		}
	}
}
