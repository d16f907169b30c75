package testserver

import (
	"context"
	"errors"
	"strconv"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// An EtcdAdmin does to a server's keys what others than the library do, straight
// to the server. What fails ends the test.
type EtcdAdmin struct {
	client *clientv3.Client
	auth   bool
}

// Admin returns the server's admin.
func (e *Etcd) Admin(testing.TB) *EtcdAdmin { return &EtcdAdmin{client: e.client, auth: e.auth} }

// Set stores value at key, whatever is there. The key has no lease then, and
// stays until it is deleted.
func (a *EtcdAdmin) Set(t testing.TB, key string, value []byte) {
	t.Helper()
	a.do(t, "set "+key, func(ctx context.Context) error {
		_, err := a.client.Put(ctx, key, string(value))
		return err
	})
}

// Delete removes key and all below it. None is fine.
func (a *EtcdAdmin) Delete(t testing.TB, key string) {
	t.Helper()
	a.do(t, "delete "+key, func(ctx context.Context) error {
		_, err := a.client.Txn(ctx).Then(clientv3.OpDelete(key), clientv3.OpDelete(key+"/", clientv3.WithPrefix())).Commit()
		return err
	})
}

// EndSession ends leases, as an expiry does: when it returns, their keys are gone.
// One that is over already is fine. The IDs are in hex, as etcdctl prints them.
func (a *EtcdAdmin) EndSession(t testing.TB, ids ...string) {
	t.Helper()
	for _, id := range ids {
		lease, err := strconv.ParseInt(id, 16, 64)
		if err != nil {
			t.Fatalf("etcd admin: end session: %v", err)
		}
		a.do(t, "revoke lease "+id, func(ctx context.Context) error {
			_, err := a.client.Revoke(ctx, clientv3.LeaseID(lease))
			if errors.Is(err, rpctypes.ErrLeaseNotFound) {
				return nil
			}
			return err
		})
	}
}

// Compact has the server forget all revisions but the present one.
func (a *EtcdAdmin) Compact(t testing.TB) {
	t.Helper()
	a.do(t, "compact", func(ctx context.Context) error {
		resp, err := a.client.Get(ctx, "/", clientv3.WithCountOnly())
		if err != nil {
			return err
		}
		_, err = a.client.Compact(ctx, resp.Header.Revision)
		if errors.Is(err, rpctypes.ErrCompacted) { // by another test
			return nil
		}
		return err
	})
}

func (a *EtcdAdmin) do(t testing.TB, op string, f func(context.Context) error) {
	t.Helper()
	// Not of t.Context, which has ended when a cleanup runs.
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	if err := f(ctx); err != nil {
		t.Fatalf("etcd admin: %s: %v", op, err)
	}
}
