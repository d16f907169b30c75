package testserver_test

import (
	"context"
	"testing"
	"time"

	"github.com/go-rollcall/registry/internal/testserver"
)

func TestAMemberIsIsolated(t *testing.T) {
	if !testserver.CanIsolate {
		t.Skip("members of a cluster can be parted on Linux only")
	}
	eachKind(t, func(t *testing.T, k kind) {
		c := testserver.Own(t, k.name, k.cluster)
		first := c.leader(t)
		k.mustPut(t, first, "first")

		begin := time.Now()
		c.isolate(t, first)
		var second testserver.Server
		for second = c.leader(t); second == first; second = c.leader(t) {
			time.Sleep(10 * time.Millisecond)
		}
		k.mustPut(t, second, "second")
		t.Logf("another leads and serves %v after the leader was isolated", time.Since(begin))
		for _, s := range c.members {
			if s != first {
				k.mustHave(t, s, "second")
			}
		}
		k.mustNotServe(t, first)

		begin = time.Now()
		c.reunite(t)
		for _, s := range c.members {
			k.mustHave(t, s, "second")
		}
		t.Logf("all serve %v after they were reunited", time.Since(begin))

		var follower testserver.Server
		leader := c.leader(t)
		for _, s := range c.members {
			if s != leader {
				follower = s
			}
		}
		c.isolate(t, follower)
		k.mustNotServe(t, follower)
		k.mustPut(t, leader, "third")
		c.isolate(t, leader) // now each is alone
		for _, s := range c.members {
			k.mustNotServe(t, s)
		}
		c.reunite(t)
		for _, s := range c.members {
			k.mustHave(t, s, "third")
		}
	})
}

// mustNotServe waits until the server answers no more. Writes are not tried: some
// would be carried out when there is a leader again.
func (k kind) mustNotServe(t *testing.T, s testserver.Server) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		got, err := k.get(ctx, s.Addr())
		cancel()
		if err != nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("a member that is alone answers %q", got)
		}
	}
}
