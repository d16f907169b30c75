package consulreg_test

import (
	"crypto/rand"
	"os"
	"path"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/conformance"
	"github.com/go-rollcall/registry/consulreg"
	"github.com/go-rollcall/registry/internal/testserver"
	"github.com/hashicorp/consul/api"
)

func TestMain(m *testing.M) { os.Exit(testserver.Main(m)) }

func TestConformance(t *testing.T) {
	server := testserver.SharedConsul(t)
	admin := server.Admin(t)
	clients := func(t *testing.T) func(*registry.Options) conformance.Client {
		root := t.Name() + rand.Text()
		token := admin.Token(t, root)
		t.Cleanup(func() { admin.Delete(t, root) })
		return func(opts *registry.Options) conformance.Client {
			p := conformance.NewProxy(t, server.Addr())
			config := &api.Config{Token: token}
			spy := &testserver.Spy{Backend: consulreg.New([]string{p.Addr()}, &consulreg.Options{Root: root, Config: config})}
			c := p.Client(registry.New(spy, opts))
			c.Deny, c.Allow = admin.Rights(t, token, root)
			c.Expire = func() { admin.EndSession(t, spy.Sessions()...) }
			c.Plant = func(service, id string, value []byte) { admin.Set(t, path.Join(root, service, id), value) }
			c.Remove = func(service, id string) { admin.Delete(t, path.Join(root, service, id)) }
			return c
		}
	}
	conformance.Run(t, conformance.Harness{
		// The server ends a session when it was not renewed for twice its TTL.
		TTL: 2 * time.Second, Dmax: 4100 * time.Millisecond, Slack: 2 * time.Second, Election: election,
		New: clients, Cluster: cluster,
	})
}

// election is the time in which a leader that falls silent is missed, 1 to 2 s, the
// time to elect, and that for the new one to take over.
const election = 3 * time.Second

func cluster(t *testing.T) conformance.Cluster {
	root := t.Name() + rand.Text()
	return testserver.SharedConsulCluster(t).Suite(t, func(servers []string) registry.Backend {
		return consulreg.New(servers, &consulreg.Options{Root: root})
	}, nil)
}
