package testserver

import (
	"bytes"
	"context"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

// Sessions counts the leases that the cluster has.
func (e *Etcd) Sessions(t testing.TB) (n int) {
	t.Helper()
	e.Admin(t).do(t, "list leases", func(ctx context.Context) error {
		resp, err := e.client.Leases(ctx)
		if err == nil {
			n = len(resp.Leases)
		}
		return err
	})
	return n
}

// Sessions counts those that the cluster has, the admins' included.
func (c *Consul) Sessions(t testing.TB) (n int) {
	t.Helper()
	c.Admin(t).do(t, "list sessions", func(ctx context.Context) error {
		list, _, err := c.client.Session().List((&api.QueryOptions{RequireConsistent: true}).WithContext(ctx))
		n = len(list)
		return err
	})
	return n
}

// FailedExpiries counts the attempts of the server, since it was started, to end a session
// that it took for expired which have failed, as it did not lead. It tries again later.
func (c *Consul) FailedExpiries(t testing.TB) int {
	t.Helper()
	log, err := os.ReadFile(c.file("log"))
	if err != nil {
		t.Fatalf("reading the log of %v: %v", c.Node, err)
	}
	return bytes.Count(log, []byte("Invalidation failed"))
}

var zkSessionID = regexp.MustCompile(`(?m)^\s*0x[0-9a-f]+`)

// Sessions counts those that the ensemble has, the admins' included, if the server leads
// it or is alone.
func (z *ZooKeeper) Sessions(t testing.TB) int {
	t.Helper()
	dump, err := z.ask("dump", 5*time.Second)
	if err != nil {
		t.Fatalf("asking ZooKeeper at %s for its sessions: %v", z.addr, err)
	}
	ids := map[string]bool{}
	for _, id := range zkSessionID.FindAllString(dump, -1) {
		ids[id] = true
	}
	return len(ids)
}
