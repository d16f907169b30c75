package testserver_test

import (
	"errors"
	"testing"
	"time"

	"github.com/go-rollcall/registry/conformance"
	"github.com/go-rollcall/registry/internal/testserver"
	"github.com/go-zookeeper/zk"
)

func TestAdminChangesTheTree(t *testing.T) {
	z := testserver.SharedZooKeeper(t)
	admin := z.Admin(t)
	root := "/testserver-tree"
	t.Cleanup(func() { admin.Delete(t, root) })
	client := dial(t, z.Addr())

	for _, value := range []string{"first", "second"} {
		admin.Set(t, root+"/a/b", []byte(value))
		if got, _, err := client.Get(root + "/a/b"); err != nil || string(got) != value {
			t.Fatalf("after Set: %q, %v; want %q", got, err, value)
		}
	}

	admin.Deny(t, root+"/a")
	if _, _, err := client.Children(root + "/a"); !errors.Is(err, zk.ErrNoAuth) {
		t.Errorf("listing after Deny: %v", err)
	}
	if err := client.Delete(root+"/a/b", -1); !errors.Is(err, zk.ErrNoAuth) {
		t.Errorf("deleting after Deny: %v", err)
	}
	if _, err := client.Create(root+"/a/c", nil, 0, zk.WorldACL(zk.PermAll)); !errors.Is(err, zk.ErrNoAuth) {
		t.Errorf("creating after Deny: %v", err)
	}
	admin.Set(t, root+"/a/d", nil) // the admin may

	admin.Allow(t, root+"/a")
	if children, _, err := client.Children(root + "/a"); err != nil || len(children) != 2 {
		t.Errorf("listing after Allow: %v, %v", children, err)
	}
	admin.Deny(t, root+"/new/deep")
	if _, _, err := client.Get(root + "/new/deep"); !errors.Is(err, zk.ErrNoAuth) {
		t.Errorf("reading a node that Deny created: %v", err)
	}

	admin.Delete(t, root)
	admin.Delete(t, root)
	if there, _, err := client.Exists(root); err != nil || there {
		t.Errorf("after Delete: %v, %v", there, err)
	}
}

func TestEndSessionTakesEphemeralsAlong(t *testing.T) {
	z := testserver.SharedZooKeeper(t)
	admin := z.Admin(t)
	node := "/testserver-session"
	for range 5 { // the client and the admin race for the session
		proxy := conformance.NewProxy(t, z.Addr())
		client := dial(t, proxy.Addr())
		if _, err := client.Create(node, nil, zk.FlagEphemeral, zk.WorldACL(zk.PermAll)); err != nil {
			t.Fatal(err)
		}
		greetings := proxy.Greetings()
		if len(greetings) != 1 {
			t.Fatalf("%d greetings, want 1", len(greetings))
		}
		observer := dial(t, z.Addr())
		if there, _, err := observer.Exists(node); err != nil || !there {
			t.Fatalf("before EndSession: %v, %v", there, err)
		}
		admin.EndSession(t, greetings[0])
		if there, _, err := observer.Exists(node); err != nil || there {
			t.Fatalf("after EndSession: %v, %v", there, err)
		}
		admin.EndSession(t, greetings[0]) // over already
		client.Close()
	}
}

func dial(t *testing.T, addr string) *zk.Conn {
	t.Helper()
	conn, _, err := zk.Connect([]string{addr}, 4*time.Second, zk.WithLogger(quiet{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}
