package zkreg_test

import (
	"crypto/rand"
	"os"
	"path"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/conformance"
	"github.com/go-rollcall/registry/internal/testserver"
	"github.com/go-rollcall/registry/zkreg"
)

func TestMain(m *testing.M) { os.Exit(testserver.Main(m)) }

func TestConformance(t *testing.T) {
	z := testserver.SharedZooKeeper(t)
	admin := z.Admin(t)
	clients := func(t *testing.T) func(*registry.Options) conformance.Client {
		root := "/" + t.Name() + rand.Text()
		t.Cleanup(func() { admin.Delete(t, root) })
		return func(opts *registry.Options) conformance.Client {
			p := conformance.NewProxy(t, z.Addr())
			c := p.Client(registry.New(zkreg.New([]string{p.Addr()}, &zkreg.Options{Root: root}), opts))
			var cut [][]byte // what the server sent on connections that were cut
			c.Cut = func() { cut = p.Greetings(); p.Cut() }
			c.Heal = func() { cut = nil; p.Heal() }
			c.Expire = func() { admin.EndSession(t, append(p.Greetings(), cut...)...) }
			c.Deny = func(service string) { admin.Deny(t, root+"/"+service) }
			c.Allow = func(service string) { admin.Allow(t, root+"/"+service) }
			c.Plant = func(service, id string, value []byte) { admin.Set(t, root+"/"+service+"/"+id, value) }
			c.Remove = func(service, id string) { admin.Delete(t, path.Join(root, service, id)) }
			return c
		}
	}
	conformance.Run(t, conformance.Harness{
		TTL: 2 * time.Second, Dmax: 2300 * time.Millisecond, Slack: 2 * time.Second, Election: election,
		New: clients, Cluster: cluster,
	})
}

// election is syncLimit, 10 ticks of 200 ms, in which a member that falls silent is
// missed, and the time to elect.
const election = 3 * time.Second

func cluster(t *testing.T) conformance.Cluster {
	root := "/" + t.Name() + rand.Text()
	return testserver.SharedZooKeeperCluster(t).Suite(t, func(servers []string) registry.Backend {
		return zkreg.New(servers, &zkreg.Options{Root: root})
	}, nil)
}
