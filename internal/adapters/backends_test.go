package adapters_test

import (
	"crypto/rand"
	"os"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/conformance"
	"github.com/go-rollcall/registry/consulreg"
	"github.com/go-rollcall/registry/etcdreg"
	"github.com/go-rollcall/registry/internal/testserver"
	"github.com/go-rollcall/registry/memreg"
	"github.com/go-rollcall/registry/zkreg"
	"github.com/hashicorp/consul/api"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestMain(m *testing.M) { os.Exit(testserver.Main(m)) }

const ttl = 2 * time.Second

// A backend is where servers are registered. open begins a new root, and returns what
// makes the Backend of each of its clients, which is reached at an address.
type backend struct {
	name string
	dmax time.Duration
	open func(t *testing.T) (server string, connect func(addr string) registry.Backend)
}

var backends = []backend{
	{"zkreg", 2300 * time.Millisecond, func(t *testing.T) (string, func(string) registry.Backend) {
		server := testserver.SharedZooKeeper(t)
		root := "/adapters" + rand.Text()
		t.Cleanup(func() { server.Admin(t).Delete(t, root) })
		return server.Addr(), func(addr string) registry.Backend {
			return zkreg.New([]string{addr}, &zkreg.Options{Root: root})
		}
	}},
	{"etcdreg", 2600 * time.Millisecond, func(t *testing.T) (string, func(string) registry.Backend) {
		server := testserver.SharedEtcd(t)
		root := "/adapters" + rand.Text()
		user, password := server.Admin(t).User(t, root)
		t.Cleanup(func() { server.Admin(t).Delete(t, root) })
		return server.Addr(), func(addr string) registry.Backend {
			return etcdreg.New([]string{addr}, &etcdreg.Options{Root: root, Config: clientv3.Config{Username: user, Password: password}})
		}
	}},
	{"consulreg", 4100 * time.Millisecond, func(t *testing.T) (string, func(string) registry.Backend) {
		server := testserver.SharedConsul(t)
		root := "adapters" + rand.Text()
		token := server.Admin(t).Token(t, root)
		t.Cleanup(func() { server.Admin(t).Delete(t, root) })
		return server.Addr(), func(addr string) registry.Backend {
			return consulreg.New([]string{addr}, &consulreg.Options{Root: root, Config: &api.Config{Token: token}})
		}
	}},
}

// TestAdapters checks each adapter on each backend.
func TestAdapters(t *testing.T) {
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			run(t, b.dmax, time.Minute, func(t *testing.T) func(*registry.Options) conformance.Client {
				server, connect := b.open(t)
				return func(opts *registry.Options) conformance.Client {
					p := conformance.NewProxy(t, server)
					return conformance.Client{
						Registry: registry.New(connect(p.Addr()), opts),
						Cut:      p.Cut, Heal: p.Heal, Release: p.Close,
					}
				}
			})
		})
	}
	t.Run("memreg", func(t *testing.T) {
		t.Parallel()
		run(t, ttl, 2*ttl, func(*testing.T) func(*registry.Options) conformance.Client {
			store := memreg.NewStore()
			return func(opts *registry.Options) conformance.Client {
				c := store.Conn()
				return conformance.Client{Registry: registry.New(c, opts), Cut: c.Cut, Heal: c.Heal}
			}
		})
	})
}
