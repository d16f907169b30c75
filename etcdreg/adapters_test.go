package etcdreg_test

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/conformance"
	"github.com/go-rollcall/registry/etcdreg"
	"github.com/go-rollcall/registry/internal/adaptertest"
	"github.com/go-rollcall/registry/internal/testserver"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestAdapters(t *testing.T) {
	server := testserver.SharedEtcd(t)
	admin := server.Admin(t)
	adaptertest.Run(t, conformance.Harness{TTL: 2 * time.Second, Dmax: 2600 * time.Millisecond, Slack: 2 * time.Second, New: func(t *testing.T) func(*registry.Options) conformance.Client {
		root := "/adapters" + rand.Text()
		user, password := admin.User(t, root)
		t.Cleanup(func() { admin.Delete(t, root) })
		return func(opts *registry.Options) conformance.Client {
			p := conformance.NewProxy(t, server.Addr())
			return conformance.Client{
				Registry: registry.New(etcdreg.New([]string{p.Addr()}, &etcdreg.Options{Root: root, Config: clientv3.Config{Username: user, Password: password}}), opts),
				Cut:      p.Cut, Heal: p.Heal, Release: p.Close,
			}
		}
	}}, time.Minute)
}
