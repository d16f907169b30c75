package testserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

// CanDeny says whether the server asks for tokens, so that rights can be taken
// away. One that somebody else runs does not.
func (c *Consul) CanDeny() bool { return c.token != "" }

// Token returns a new token with which everything below root+"/" may be done and
// sessions may be opened, and nothing else, until t ends: ask for it before what
// uses it is opened. Where the server asks for none, it is empty.
func (a *ConsulAdmin) Token(t testing.TB, root string) string {
	t.Helper()
	if !a.rights {
		return ""
	}
	var token *api.ACLToken
	a.do(t, "make a token", func(ctx context.Context) error {
		policy, _, err := a.client.ACL().PolicyCreate(&api.ACLPolicy{Name: "test-" + rand.Text(), Rules: keyRule(root, "write") +
			`session_prefix "" { policy = "write" }` + "\n" + `node_prefix "" { policy = "read" }` + "\n"}, writeOptions(ctx))
		if err != nil {
			return err
		}
		t.Cleanup(func() {
			a.do(t, "remove a policy", func(ctx context.Context) error {
				_, err := a.client.ACL().PolicyDelete(policy.ID, writeOptions(ctx))
				return err
			})
		})
		token, _, err = a.client.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLTokenPolicyLink{{ID: policy.ID}}}, writeOptions(ctx))
		return err
	})
	t.Cleanup(func() {
		a.do(t, "remove a token", func(ctx context.Context) error {
			_, err := a.client.ACL().TokenDelete(token.AccessorID, writeOptions(ctx))
			return err
		})
	})
	return token.SecretID
}

// Deny takes from a token the right to read and to write what is below
// root/service/. Writing is refused from then on; what is read lacks those keys
// without a word, but for a field of the answer. A query that blocks already
// goes on with the rights that it began with.
func (a *ConsulAdmin) Deny(t testing.TB, token, root, service string) {
	t.Helper()
	key := root + "/" + service
	a.do(t, "deny "+key, func(ctx context.Context) error {
		return a.setRule(ctx, token, key, func(rules, deny string) string { return rules + deny }, true)
	})
}

// Allow undoes Deny.
func (a *ConsulAdmin) Allow(t testing.TB, token, root, service string) {
	t.Helper()
	key := root + "/" + service
	a.do(t, "allow "+key, func(ctx context.Context) error {
		return a.setRule(ctx, token, key, func(rules, deny string) string { return strings.ReplaceAll(rules, deny, "") }, false)
	})
}

// Rights are Deny and Allow of a token, and nil where the server does not ask for
// one.
func (a *ConsulAdmin) Rights(t testing.TB, token, root string) (deny, allow func(service string)) {
	if token == "" {
		return nil, nil
	}
	return func(service string) { a.Deny(t, token, root, service) }, func(service string) { a.Allow(t, token, root, service) }
}

// setRule edits the rules of a token's policy, and returns when the server goes
// by them: when it refuses a write below key, or no longer does.
func (a *ConsulAdmin) setRule(ctx context.Context, token, key string, edit func(rules, deny string) string, refused bool) error {
	self, _, err := a.client.ACL().TokenReadSelf((&api.QueryOptions{Token: token}).WithContext(ctx))
	if err != nil {
		return err
	}
	policy, _, err := a.client.ACL().PolicyRead(self.Policies[0].ID, (&api.QueryOptions{}).WithContext(ctx))
	if err != nil {
		return err
	}
	policy.Rules = edit(policy.Rules, keyRule(key, "deny"))
	if _, _, err := a.client.ACL().PolicyUpdate(policy, writeOptions(ctx)); err != nil {
		return err
	}
	for {
		// There is no such key, so that nothing happens if it is granted.
		_, err := a.client.KV().Delete(key+"/"+rand.Text(), (&api.WriteOptions{Token: token}).WithContext(ctx))
		var status api.StatusError
		switch {
		case err == nil && !refused:
			return nil
		case errors.As(err, &status) && status.Code == http.StatusForbidden:
			if refused {
				return nil
			}
		case err != nil:
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

// keyRule gives the keys below key a policy. The longest rule that fits wins.
func keyRule(key, policy string) string {
	return fmt.Sprintf("key_prefix %q { policy = %q }\n", key+"/", policy)
}
