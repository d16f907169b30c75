package testserver

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

// A ConsulAdmin does to a server's keys what others than the library do, with a
// session of its own, straight to the server. What fails ends the test.
type ConsulAdmin struct {
	client  *api.Client
	session string
	rights  bool
}

// Admin returns the server's admin. The first call opens its session, which
// lasts as long as the server.
func (c *Consul) Admin(t testing.TB) *ConsulAdmin {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	a := &ConsulAdmin{client: c.client, rights: c.token != ""}
	if c.session == "" {
		a.do(t, "open a session", func(ctx context.Context) (err error) {
			entry := &api.SessionEntry{Name: "testserver", Behavior: api.SessionBehaviorDelete, LockDelay: time.Millisecond}
			c.session, _, err = c.client.Session().CreateNoChecks(entry, writeOptions(ctx))
			return err
		})
	}
	a.session = c.session
	return a
}

// Set stores value at key, whatever is there, in one transaction. The key is
// held by the admin's session then, and stays until it is deleted or taken.
func (a *ConsulAdmin) Set(t testing.TB, key string, value []byte) {
	t.Helper()
	a.do(t, "set "+key, func(ctx context.Context) error {
		for {
			// For as long as a session's lock delay, a key that was its own
			// cannot be had by another.
			err := a.txn(ctx,
				&api.KVTxnOp{Verb: api.KVDelete, Key: key},
				&api.KVTxnOp{Verb: api.KVLock, Key: key, Value: value, Session: a.session})
			if err == nil {
				return nil
			}
			select {
			case <-ctx.Done():
				return err
			case <-time.After(time.Millisecond):
			}
		}
	})
}

// Delete removes key and all below it. None is fine.
func (a *ConsulAdmin) Delete(t testing.TB, key string) {
	t.Helper()
	a.do(t, "delete "+key, func(ctx context.Context) error {
		return a.txn(ctx,
			&api.KVTxnOp{Verb: api.KVDelete, Key: key},
			&api.KVTxnOp{Verb: api.KVDeleteTree, Key: key + "/"})
	})
}

// EndSession ends sessions, as an expiry does: when it returns, the keys that
// they held are gone. One that is over already is fine.
func (a *ConsulAdmin) EndSession(t testing.TB, ids ...string) {
	t.Helper()
	for _, id := range ids {
		a.do(t, "end session "+id, func(ctx context.Context) error {
			_, err := a.client.Session().Destroy(id, writeOptions(ctx))
			return err
		})
	}
}

func (a *ConsulAdmin) txn(ctx context.Context, ops ...*api.KVTxnOp) error {
	ok, answer, _, err := a.client.KV().Txn(ops, (&api.QueryOptions{}).WithContext(ctx))
	if err != nil || ok {
		return err
	}
	return fmt.Errorf("refused: %v", answer.Errors[0].What)
}

func (a *ConsulAdmin) do(t testing.TB, op string, f func(context.Context) error) {
	t.Helper()
	// Not of t.Context, which has ended when a cleanup runs.
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	if err := f(ctx); err != nil {
		t.Fatalf("Consul admin: %s: %v", op, err)
	}
}

func writeOptions(ctx context.Context) *api.WriteOptions {
	return (&api.WriteOptions{}).WithContext(ctx)
}
