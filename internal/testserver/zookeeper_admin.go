package testserver

import (
	"errors"
	"path"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
)

const adminTimeout = 20 * time.Second

var (
	everybody = zk.WorldACL(zk.PermAll)
	adminOnly = zk.DigestACL(zk.PermAll, "registry-test", "registry-test")
)

// A ZooKeeperAdmin does to a server's tree what others than the library do: on
// a connection and a session of its own, straight to the server. What fails
// ends the test.
type ZooKeeperAdmin struct {
	addr string
	conn *zk.Conn
}

// Admin returns the server's admin. The first call connects it.
func (z *ZooKeeper) Admin(t testing.TB) *ZooKeeperAdmin {
	t.Helper()
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.admin != nil {
		return z.admin
	}
	conn, _, err := zk.Connect([]string{z.addr}, 4*time.Second, zk.WithLogger(silent{}), zk.WithLogInfo(false))
	if err != nil {
		t.Fatalf("connecting to ZooKeeper: %v", err)
	}
	a := &ZooKeeperAdmin{addr: z.addr, conn: conn}
	a.do(t, "authenticate", "/", func() error {
		return conn.AddAuth("digest", []byte("registry-test:registry-test"))
	})
	z.admin = a
	return a
}

// Set stores value at node: in the node that is there, or in a new one, which
// stays until it is deleted. Parents are created as needed.
func (a *ZooKeeperAdmin) Set(t testing.TB, node string, value []byte) {
	t.Helper()
	a.do(t, "set", node, func() error {
		if err := a.create(node); err != nil {
			return err
		}
		_, err := a.conn.Set(node, value, -1)
		return err
	})
}

// Delete removes node and all below it. None is fine.
func (a *ZooKeeperAdmin) Delete(t testing.TB, node string) {
	t.Helper()
	a.do(t, "delete", node, func() error { return a.delete(node) })
}

// Deny takes from everybody else the right to read node, to change it, and to
// create or delete children of it. Children keep their own rights: ZooKeeper
// hands none down. A node that is absent is created.
func (a *ZooKeeperAdmin) Deny(t testing.TB, node string) {
	t.Helper()
	a.setACL(t, "deny", node, adminOnly)
}

// Allow undoes Deny.
func (a *ZooKeeperAdmin) Allow(t testing.TB, node string) {
	t.Helper()
	a.setACL(t, "allow", node, everybody)
}

func (a *ZooKeeperAdmin) setACL(t testing.TB, op, node string, acl []zk.ACL) {
	t.Helper()
	a.do(t, op, node, func() error {
		if err := a.create(node); err != nil {
			return err
		}
		_, err := a.conn.SetACL(node, acl, -1)
		return err
	})
}

func (a *ZooKeeperAdmin) create(node string) error {
	if node == "/" {
		return nil
	}
	_, err := a.conn.Create(node, nil, 0, everybody)
	if errors.Is(err, zk.ErrNoNode) {
		if err := a.create(path.Dir(node)); err != nil {
			return err
		}
		return a.create(node)
	}
	if errors.Is(err, zk.ErrNodeExists) {
		return nil
	}
	return err
}

func (a *ZooKeeperAdmin) delete(node string) error {
	for {
		children, _, err := a.conn.Children(node)
		if errors.Is(err, zk.ErrNoNode) {
			return nil
		} else if err != nil {
			return err
		}
		for _, child := range children {
			if err := a.delete(path.Join(node, child)); err != nil {
				return err
			}
		}
		err = a.conn.Delete(node, -1)
		if errors.Is(err, zk.ErrNoNode) {
			return nil
		}
		if !errors.Is(err, zk.ErrNotEmpty) { // somebody goes on writing there
			return err
		}
	}
}

// do bounds f, since a call of the client waits for a lost server for ever.
func (a *ZooKeeperAdmin) do(t testing.TB, op, node string, f func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		if err != nil {
			t.Fatalf("ZooKeeper admin: %s %s: %v", op, node, err)
		}
	case <-time.After(adminTimeout):
		t.Fatalf("ZooKeeper admin: %s %s: no answer from %s within %v", op, node, a.addr, adminTimeout)
	}
}

type silent struct{}

func (silent) Printf(string, ...any) {}
