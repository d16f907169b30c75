package zkreg_test

import (
	"crypto/rand"
	"testing"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/internal/testserver"
	"github.com/go-rollcall/registry/zkreg"
)

// A Registry that only watches, with a TTL of half a second, leaves a server that is silent.
func TestLeavesSilentServers(t *testing.T) {
	root := "/" + t.Name() + rand.Text()
	testserver.LeavesSilentServers(t, testserver.SharedZooKeeper(t).Addr(), func(servers ...string) registry.Backend {
		return zkreg.New(servers, &zkreg.Options{Root: root})
	})
}
