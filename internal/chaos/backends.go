package chaos

import (
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/consulreg"
	"github.com/go-rollcall/registry/etcdreg"
	"github.com/go-rollcall/registry/internal/testserver"
	"github.com/go-rollcall/registry/memreg"
	"github.com/go-rollcall/registry/zkreg"
)

const ttl = 3 * time.Second

func newZooKeeperWorld(t testing.TB) *world {
	c := &nodes[*testserver.ZooKeeper]{soft{t}, testserver.Own(t, "zk", testserver.StartZooKeeperCluster)}
	open := func(addrs []string) registry.Backend { return zkreg.New(addrs, &zkreg.Options{Root: root}) }
	return &world{
		ttl: ttl, dmax: ttl + 300*time.Millisecond, elect: 4 * time.Second,
		link:   wired(t, c.addrs()),
		open:   func(l link) registry.Backend { return open(l.(*network).addrs()) },
		direct: func() registry.Backend { return open(c.addrs()) },
		plant: func(m int, k key, value []byte) error {
			return attempt(t, func(t testing.TB) { c.Members[m].Admin(t).Set(t, k.path(), value) })
		},
		remove: func(m int, k key) error {
			return attempt(t, func(t testing.TB) { c.Members[m].Admin(t).Delete(t, k.path()) })
		},
		expire: func(m int, l link, _ registry.Backend) error {
			return attempt(t, func(t testing.TB) { c.Members[m].Admin(t).EndSession(t, l.(*network).greetings()...) })
		},
		sessions: func() int { return c.Members[c.leader()].Sessions(t) }, admins: len(c.Members),
		cluster: c,
	}
}

func newEtcdWorld(t testing.TB) *world {
	c := &nodes[*testserver.Etcd]{soft{t}, testserver.Own(t, "etcd", testserver.StartEtcdCluster)}
	open := func(addrs []string) registry.Backend { return etcdreg.New(addrs, &etcdreg.Options{Root: root}) }
	return &world{
		ttl: ttl, dmax: ttl + 600*time.Millisecond, elect: 4 * time.Second,
		late: 8 * time.Second, // docs/backends.md: revocations that wait for the timeout of others
		link: wired(t, c.addrs()),
		open: func(l link) registry.Backend {
			return &testserver.Spy{Backend: open(l.(*network).addrs())}
		},
		direct: func() registry.Backend { return open(c.addrs()) },
		plant: func(m int, k key, value []byte) error {
			return attempt(t, func(t testing.TB) { c.Members[m].Admin(t).Set(t, k.path(), value) })
		},
		remove: func(m int, k key) error {
			return attempt(t, func(t testing.TB) { c.Members[m].Admin(t).Delete(t, k.path()) })
		},
		expire: func(m int, _ link, b registry.Backend) error {
			return attempt(t, func(t testing.TB) { c.Members[m].Admin(t).EndSession(t, newest(b)...) })
		},
		compact:  func(m int) error { return attempt(t, func(t testing.TB) { c.Members[m].Admin(t).Compact(t) }) },
		sessions: func() int { return c.Members[0].Sessions(t) },
		cluster:  c,
	}
}

func newConsulWorld(t testing.TB) *world {
	c := &nodes[*testserver.Consul]{soft{t}, testserver.Own(t, "consul", testserver.StartConsulCluster)}
	open := func(addrs []string) registry.Backend { return consulreg.New(addrs, &consulreg.Options{Root: root}) }
	return &world{
		ttl: ttl, dmax: 2*ttl + 100*time.Millisecond, elect: 6 * time.Second,
		link: wired(t, c.addrs()),
		open: func(l link) registry.Backend {
			return &testserver.Spy{Backend: open(l.(*network).addrs())}
		},
		direct: func() registry.Backend { return open(c.addrs()) },
		plant: func(m int, k key, value []byte) error {
			return attempt(t, func(t testing.TB) { c.Members[m].Admin(t).Set(t, k.path()[1:], value) })
		},
		remove: func(m int, k key) error {
			return attempt(t, func(t testing.TB) { c.Members[m].Admin(t).Delete(t, k.path()[1:]) })
		},
		expire: func(m int, _ link, b registry.Backend) error {
			return attempt(t, func(t testing.TB) { c.Members[m].Admin(t).EndSession(t, newest(b)...) })
		},
		failedExpiries: func(m int) int { return c.Members[m].FailedExpiries(t) },
		sessions:       func() int { return c.Members[0].Sessions(t) }, admins: len(c.Members),
		cluster: c,
	}
}

func newMemoryWorld() *world {
	store := memreg.NewStore()
	return &world{
		ttl: ttl, dmax: ttl,
		link:     func(int) link { return &memoryLink{store.Conn()} },
		open:     func(l link) registry.Backend { return l.(*memoryLink).Conn },
		direct:   func() registry.Backend { return store.Conn() },
		plant:    func(_ int, k key, value []byte) error { store.Plant(k.service, k.id, value); return nil },
		remove:   func(_ int, k key) error { store.Remove(k.service, k.id); return nil },
		expire:   func(_ int, l link, _ registry.Backend) error { l.(*memoryLink).Expire(); return nil },
		sessions: func() int { return 0 },
	}
}

// newest is the ID of the session that was opened last, if there is one.
func newest(b registry.Backend) []string {
	all := b.(*testserver.Spy).Sessions()
	return all[max(0, len(all)-1):]
}

func (k key) path() string { return root + "/" + k.service + "/" + k.id }
