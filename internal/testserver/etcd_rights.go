package testserver

import (
	"context"
	"crypto/rand"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// CanDeny says whether the server asks for credentials, so that rights can be
// taken away. One that somebody else runs does not.
func (e *Etcd) CanDeny() bool { return e.auth }

// User returns the credentials of a new user who may do everything below
// root+"/" and nothing else, until t ends: ask for it before what uses it is
// opened. Where the server asks for none, they are empty.
func (a *EtcdAdmin) User(t testing.TB, root string) (name, password string) {
	t.Helper()
	if !a.auth {
		return "", ""
	}
	name, password = "user-"+rand.Text(), rand.Text()
	t.Cleanup(func() {
		a.do(t, "remove user "+name, func(ctx context.Context) error {
			if _, err := a.client.UserDelete(ctx, name); err != nil {
				return err
			}
			_, err := a.client.RoleDelete(ctx, name)
			return err
		})
	})
	a.do(t, "add user "+name, func(ctx context.Context) error {
		if _, err := a.client.UserAdd(ctx, name, password); err != nil {
			return err
		}
		if _, err := a.client.RoleAdd(ctx, name); err != nil { // a role of its own, by the same name
			return err
		}
		if err := a.grant(ctx, name, below(root)); err != nil {
			return err
		}
		_, err := a.client.UserGrantRole(ctx, name, name)
		return err
	})
	return name, password
}

// Deny takes from a user the right to read and to write what is below
// root/service/, and with it to list all of root/. A watch that the server has
// accepted before goes on: it asks for rights when a watch is made.
func (a *EtcdAdmin) Deny(t testing.TB, user, root, service string) {
	t.Helper()
	a.do(t, "deny "+root+"/"+service, func(ctx context.Context) error {
		role, err := a.client.RoleGet(ctx, user)
		if err != nil {
			return err
		}
		denied := below(root + "/" + service)
		for _, p := range role.Perm {
			held := keyRange{string(p.Key), string(p.RangeEnd)}
			if held.end <= denied.begin || denied.end <= held.begin {
				continue
			}
			// What is left first, so that nothing else is refused meanwhile.
			for _, rest := range []keyRange{{held.begin, denied.begin}, {denied.end, held.end}} {
				if rest.begin >= rest.end {
					continue
				}
				if err := a.grant(ctx, user, rest); err != nil {
					return err
				}
			}
			if _, err := a.client.RoleRevokePermission(ctx, user, held.begin, held.end); err != nil {
				return err
			}
		}
		return nil
	})
}

// Allow undoes Deny.
func (a *EtcdAdmin) Allow(t testing.TB, user, root, service string) {
	t.Helper()
	a.do(t, "allow "+root+"/"+service, func(ctx context.Context) error {
		return a.grant(ctx, user, below(root+"/"+service))
	})
}

// Rights are Deny and Allow of a user, and nil where the server does not ask for
// credentials.
func (a *EtcdAdmin) Rights(t testing.TB, user, root string) (deny, allow func(service string)) {
	if !a.auth {
		return nil, nil
	}
	return func(service string) { a.Deny(t, user, root, service) }, func(service string) { a.Allow(t, user, root, service) }
}

// keyRange is the keys from begin to before end.
type keyRange struct{ begin, end string }

// below is the keys that begin with key+"/".
func below(key string) keyRange { return keyRange{key + "/", clientv3.GetPrefixRangeEnd(key + "/")} }

func (a *EtcdAdmin) grant(ctx context.Context, role string, r keyRange) error {
	_, err := a.client.RoleGrantPermission(ctx, role, r.begin, r.end, clientv3.PermissionType(clientv3.PermReadWrite))
	return err
}
