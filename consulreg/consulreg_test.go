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
	// The server ends a session when it was not renewed for twice its TTL.
	conformance.Run(t, conformance.Harness{TTL: 2 * time.Second, Dmax: 4100 * time.Millisecond, Slack: 2 * time.Second, Election: election, Cluster: cluster, New: func(t *testing.T) func(*registry.Options) conformance.Client {
		root := t.Name() + rand.Text()
		token := admin.Token(t, root)
		t.Cleanup(func() { admin.Delete(t, root) })
		return func(opts *registry.Options) conformance.Client {
			p := conformance.NewProxy(t, server.Addr())
			spy := &testserver.Spy{Backend: consulreg.New([]string{p.Addr()}, &consulreg.Options{Root: root, Config: &api.Config{Token: token}})}
			deny, allow := admin.Rights(t, token, root)
			return conformance.Client{
				Registry: registry.New(spy, opts),
				Cut:      p.Cut, Freeze: p.Freeze, DropReply: p.DropReply, Heal: p.Heal, Traffic: p.Bytes, Release: p.Close, Deny: deny, Allow: allow,
				Expire: func() { admin.EndSession(t, spy.Sessions()...) },
				Plant:  func(service, id string, value []byte) { admin.Set(t, path.Join(root, service, id), value) },
				Remove: func(service, id string) { admin.Delete(t, path.Join(root, service, id)) },
			}
		}
	}})
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
