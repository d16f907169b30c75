package etcdreg_test

import (
	"crypto/rand"
	"testing"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/etcdreg"
	"github.com/go-rollcall/registry/internal/testserver"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A Registry that only watches, with a TTL of half a second, leaves a server that is silent.
func TestLeavesSilentServers(t *testing.T) {
	e := testserver.SharedEtcd(t)
	root := "/" + t.Name() + rand.Text()
	user, password := e.Admin(t).User(t, root)
	config := clientv3.Config{Username: user, Password: password}
	testserver.LeavesSilentServers(t, e.Addr(), func(servers ...string) registry.Backend {
		return etcdreg.New(servers, &etcdreg.Options{Root: root, Config: config})
	})
}
