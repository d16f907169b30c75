package zkreg_test

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/conformance"
	"github.com/go-rollcall/registry/internal/adaptertest"
	"github.com/go-rollcall/registry/internal/testserver"
	"github.com/go-rollcall/registry/zkreg"
)

func TestAdapters(t *testing.T) {
	server := testserver.SharedZooKeeper(t)
	admin := server.Admin(t)
	adaptertest.Run(t, conformance.Harness{TTL: 2 * time.Second, Dmax: 2300 * time.Millisecond, Slack: 2 * time.Second, New: func(t *testing.T) func(*registry.Options) conformance.Client {
		root := "/adapters" + rand.Text()
		t.Cleanup(func() { admin.Delete(t, root) })
		return func(opts *registry.Options) conformance.Client {
			p := conformance.NewProxy(t, server.Addr())
			return conformance.Client{
				Registry: registry.New(zkreg.New([]string{p.Addr()}, &zkreg.Options{Root: root}), opts),
				Cut:      p.Cut, Heal: p.Heal, Release: p.Close,
			}
		}
	}}, time.Minute)
}
