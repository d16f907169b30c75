package testserver_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/go-rollcall/registry/internal/testserver"
	"github.com/hashicorp/consul/api"
)

// consulUser returns a client with a token for root, and the token.
func consulUser(t *testing.T, c *testserver.Consul, root string) (*api.Client, string) {
	t.Helper()
	admin := c.Admin(t)
	token := admin.Token(t, root)
	t.Cleanup(func() { admin.Delete(t, root) })
	client, err := consulClient(c.Addr(), token)
	if err != nil {
		t.Fatal(err)
	}
	return client, token
}

// hold acquires key under a new session, and returns that.
func hold(t *testing.T, client *api.Client, key string, delay time.Duration) (session string) {
	t.Helper()
	session, _, err := client.Session().CreateNoChecks(&api.SessionEntry{TTL: "60s", Behavior: api.SessionBehaviorDelete, LockDelay: delay}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if ok, _, err := client.KV().Acquire(&api.KVPair{Key: key, Session: session}, nil); err != nil || !ok {
		t.Fatalf("acquire %s: %v, %v", key, ok, err)
	}
	return session
}

func TestConsulAdminChangesKeys(t *testing.T) {
	c := testserver.SharedConsul(t)
	admin := c.Admin(t)
	root := "testserver-keys"
	client, _ := consulUser(t, c, root)
	session := hold(t, client, root+"/s/a", time.Millisecond)
	for _, value := range []string{"first", "second"} {
		admin.Set(t, root+"/s/a", []byte(value))
		got, _, err := client.KV().Get(root+"/s/a", nil)
		if err != nil || got == nil || string(got.Value) != value || got.Session == session || got.Session == "" {
			t.Fatalf("after Set: %v, %v; want %q under a session of the admin's", got, err, value)
		}
	}
	admin.Set(t, root+"/s2/a", nil)
	for range 2 { // the second finds none
		admin.Delete(t, root+"/s")
		if got, _, err := client.KV().List(root+"/s/", nil); err != nil || len(got) != 0 {
			t.Fatalf("after Delete: %v, %v", got, err)
		}
	}
	if got, _, err := client.KV().Get(root+"/s2/a", nil); err != nil || got == nil {
		t.Errorf("Delete took a key with a longer name: %v, %v", got, err)
	}
}

func TestConsulEndSessionTakesKeysAlong(t *testing.T) {
	c := testserver.SharedConsul(t)
	root := "testserver-session"
	client, _ := consulUser(t, c, root)
	session := hold(t, client, root+"/s/a", 100*time.Millisecond)
	for range 2 { // the second finds it over
		c.Admin(t).EndSession(t, session)
		if got, _, err := client.KV().Get(root+"/s/a", nil); err != nil || got != nil {
			t.Fatalf("after EndSession: %v, %v", got, err)
		}
	}
	c.Admin(t).Set(t, root+"/s/a", nil) // waits for the lock delay
}

func TestConsulRights(t *testing.T) {
	c := testserver.SharedConsul(t)
	if !c.CanDeny() {
		t.Skip("this server asks for no tokens")
	}
	admin := c.Admin(t)
	root := "testserver-rights"
	client, token := consulUser(t, c, root)
	check := func(when, key string, allowed bool) {
		t.Helper()
		_, put := client.KV().Put(&api.KVPair{Key: key}, nil)
		_, _, get := client.KV().Get(key, nil)
		for op, err := range map[string]error{"put": put, "get": get} {
			want := 0
			if !allowed {
				want = http.StatusForbidden
			}
			if got := statusCode(err); got != want {
				t.Errorf("%s: %s %s: %v (%d), want %d", when, op, key, err, got, want)
			}
		}
	}
	check("at first", "testserver-other/s/a", false)
	for range 2 {
		for _, service := range []string{"s", "z"} {
			check("allowed", root+"/"+service+"/a", true)
			admin.Deny(t, token, root, service)
			admin.Deny(t, token, root, service) // again: no harm
			check("denied", root+"/"+service+"/a", false)
			list, meta, err := client.KV().List(root+"/"+service+"/", nil)
			if err != nil || len(list) > 0 || !meta.ResultsFilteredByACLs {
				t.Errorf("denied: list %s: %v, %+v, %v", service, list, meta, err)
			}
		}
		for _, service := range []string{"a", "s2", "z2"} {
			check("beside what is denied", root+"/"+service+"/a", true)
		}
		admin.Allow(t, token, root, "s")
		check("denied still", root+"/z/a", false)
		check("allowed again", root+"/s/a", true)
		admin.Allow(t, token, root, "z")
	}
}

// statusCode is the HTTP status of an error, 0 if there is none.
func statusCode(err error) int {
	var status api.StatusError
	if errors.As(err, &status) {
		return status.Code
	}
	if err != nil {
		return -1
	}
	return 0
}
