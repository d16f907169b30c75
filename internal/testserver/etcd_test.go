package testserver_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/go-rollcall/registry/internal/testserver"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// etcdUser returns a client of a user who owns root, and the user's name.
func etcdUser(t *testing.T, e *testserver.Etcd, root string) (*clientv3.Client, string) {
	t.Helper()
	admin := e.Admin(t)
	user, password := admin.User(t, root)
	t.Cleanup(func() { admin.Delete(t, root) })
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{e.Addr()}, Username: user, Password: password, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, user
}

func TestEtcdAdminChangesKeys(t *testing.T) {
	e := testserver.SharedEtcd(t)
	admin := e.Admin(t)
	root := "/testserver-keys"
	client, _ := etcdUser(t, e, root)
	lease, err := client.Grant(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Put(t.Context(), root+"/s/a", "a client's", clientv3.WithLease(lease.ID)); err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"first", "second"} {
		admin.Set(t, root+"/s/a", []byte(value))
		got, err := client.Get(t.Context(), root+"/s/a")
		if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != value || got.Kvs[0].Lease != 0 {
			t.Fatalf("after Set: %v, %v; want %q without a lease", got, err, value)
		}
	}
	admin.Set(t, root+"/s2/a", nil)
	for range 2 { // the second finds none
		admin.Delete(t, root+"/s")
		if got, err := client.Get(t.Context(), root+"/s/", clientv3.WithPrefix()); err != nil || got.Count != 0 {
			t.Fatalf("after Delete: %v, %v", got, err)
		}
	}
	if got, err := client.Get(t.Context(), root+"/s2/a"); err != nil || got.Count != 1 {
		t.Errorf("Delete took a key with a longer name: %v, %v", got, err)
	}
}

func TestEtcdEndSessionTakesKeysAlong(t *testing.T) {
	e := testserver.SharedEtcd(t)
	root := "/testserver-session"
	client, _ := etcdUser(t, e, root)
	lease, err := client.Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Put(t.Context(), root+"/s/a", "", clientv3.WithLease(lease.ID)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second finds it over
		e.Admin(t).EndSession(t, fmt.Sprintf("%x", lease.ID))
		if got, err := client.Get(t.Context(), root+"/s/a"); err != nil || got.Count != 0 {
			t.Fatalf("after EndSession: %v, %v", got, err)
		}
	}
}

func TestEtcdRights(t *testing.T) {
	e := testserver.SharedEtcd(t)
	if !e.CanDeny() {
		t.Skip("this server asks for no credentials")
	}
	admin := e.Admin(t)
	root := "/testserver-rights"
	client, user := etcdUser(t, e, root)
	check := func(when, key string, want error) {
		t.Helper()
		if _, err := client.Put(t.Context(), key, ""); !errors.Is(err, want) {
			t.Errorf("%s: put %s: %v, want %v", when, key, err, want)
		}
		if _, err := client.Get(t.Context(), key); !errors.Is(err, want) {
			t.Errorf("%s: get %s: %v, want %v", when, key, err, want)
		}
	}
	list := func(when string, want error) {
		t.Helper()
		if _, err := client.Get(t.Context(), root+"/", clientv3.WithPrefix()); !errors.Is(err, want) {
			t.Errorf("%s: list the root: %v, want %v", when, err, want)
		}
	}
	denied := rpctypes.ErrPermissionDenied
	check("at first", "/testserver-other/s/a", denied)
	for range 2 {
		list("allowed", nil)
		for _, service := range []string{"s", "z"} {
			check("allowed", root+"/"+service+"/a", nil)
			admin.Deny(t, user, root, service)
			admin.Deny(t, user, root, service) // again: no harm
			check("denied", root+"/"+service+"/a", denied)
		}
		for _, service := range []string{"a", "s2", "t", "z2"} {
			check("beside what is denied", root+"/"+service+"/a", nil)
		}
		list("denied", denied)
		admin.Allow(t, user, root, "s")
		check("denied still", root+"/z/a", denied)
		check("allowed again", root+"/s/a", nil)
		admin.Allow(t, user, root, "z")
	}
	list("allowed again", nil)
}
