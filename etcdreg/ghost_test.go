package etcdreg_test

import (
	"context"
	"crypto/rand"
	"strconv"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/etcdreg"
	"github.com/go-rollcall/registry/internal/testserver"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A request that was given up with its connection may still arrive, and create what
// was deleted since: on the session's lease, so that it would live as long as that.
func TestLateWriteIsDeleted(t *testing.T) {
	e := testserver.SharedEtcd(t)
	admin, root := e.Admin(t), "/"+t.Name()+rand.Text()
	user, password := admin.User(t, root)
	t.Cleanup(func() { admin.Delete(t, root) })
	config := clientv3.Config{Username: user, Password: password}
	spy := &testserver.Spy{Backend: etcdreg.New([]string{e.Addr()}, &etcdreg.Options{Root: root, Config: config})}
	reg := registry.New(spy, nil)
	t.Cleanup(func() { reg.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for _, id := range []string{"a", "b", "c"} {
		r, err := reg.Register(ctx, registry.Instance{Service: "s", ID: id, Addr: "h:1"})
		if err != nil {
			t.Fatal(err)
		}
		if id == "b" {
			if err := r.Deregister(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	lease, err := strconv.ParseInt(spy.Sessions()[0], 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	config.Endpoints = []string{e.Addr()}
	late, err := clientv3.New(config)
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	// The guard looks 50 ms after the last write, and follows from there.
	put := func() {
		_, err = late.Put(ctx, root+"/s/b", `{"addr":"h:1"}`, clientv3.WithLease(clientv3.LeaseID(lease)))
	}
	if put(); err != nil {
		t.Fatal(err)
	}
	for s, err := range reg.Watch(ctx, "s") {
		if err != nil {
			t.Fatalf("what nobody wants is still there: %v", err)
		}
		if len(s.Instances) == 2 {
			return
		}
	}
}
