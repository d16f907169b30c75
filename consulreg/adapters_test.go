package consulreg_test

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/conformance"
	"github.com/go-rollcall/registry/consulreg"
	"github.com/go-rollcall/registry/internal/adaptertest"
	"github.com/go-rollcall/registry/internal/testserver"
	"github.com/hashicorp/consul/api"
)

func TestAdapters(t *testing.T) {
	server := testserver.SharedConsul(t)
	admin := server.Admin(t)
	adaptertest.Run(t, conformance.Harness{TTL: 2 * time.Second, Dmax: 4100 * time.Millisecond, Slack: 2 * time.Second, New: func(t *testing.T) func(*registry.Options) conformance.Client {
		root := "adapters" + rand.Text()
		token := admin.Token(t, root)
		t.Cleanup(func() { admin.Delete(t, root) })
		return func(opts *registry.Options) conformance.Client {
			p := conformance.NewProxy(t, server.Addr())
			return conformance.Client{
				Registry: registry.New(consulreg.New([]string{p.Addr()}, &consulreg.Options{Root: root, Config: &api.Config{Token: token}}), opts),
				Cut:      p.Cut, Heal: p.Heal, Release: p.Close,
			}
		}
	}}, time.Minute)
}
