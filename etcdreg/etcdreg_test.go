package etcdreg_test

import (
	"crypto/rand"
	"os"
	"path"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/conformance"
	"github.com/go-rollcall/registry/etcdreg"
	"github.com/go-rollcall/registry/internal/testserver"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestMain(m *testing.M) { os.Exit(testserver.Main(m)) }

func TestConformance(t *testing.T) {
	e := testserver.SharedEtcd(t)
	admin := e.Admin(t)
	clients := func(t *testing.T) func(*registry.Options) conformance.Client {
		root := "/" + t.Name() + rand.Text()
		user, password := admin.User(t, root)
		t.Cleanup(func() { admin.Delete(t, root) })
		return func(opts *registry.Options) conformance.Client {
			p := conformance.NewProxy(t, e.Addr())
			config := clientv3.Config{Username: user, Password: password}
			spy := &testserver.Spy{Backend: etcdreg.New([]string{p.Addr()}, &etcdreg.Options{Root: root, Config: config})}
			c := p.Client(registry.New(spy, opts))
			c.Deny, c.Allow = admin.Rights(t, user, root)
			c.Expire = func() { admin.EndSession(t, spy.Sessions()...) }
			c.Compact = func() { admin.Compact(t) }
			c.Plant = func(service, id string, value []byte) { admin.Set(t, path.Join(root, service, id), value) }
			c.Remove = func(service, id string) { admin.Delete(t, path.Join(root, service, id)) }
			return c
		}
	}
	conformance.Run(t, conformance.Harness{
		TTL: 2 * time.Second, Dmax: 2600 * time.Millisecond, Slack: 2 * time.Second, Election: election,
		New: clients, Cluster: cluster,
	})
}

// election is the time in which a leader that falls silent is missed, 1 to 2 s, and
// the time to elect.
const election = 3 * time.Second

func cluster(t *testing.T) conformance.Cluster {
	root := "/" + t.Name() + rand.Text()
	c := testserver.SharedEtcdCluster(t)
	return c.Suite(t, func(servers []string) registry.Backend {
		return etcdreg.New(servers, &etcdreg.Options{Root: root})
	}, func() { c.Leader(t).Admin(t).Compact(t) })
}
