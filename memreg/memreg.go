// Package memreg is a registry in memory. It is for tests of services that
// use package registry, and for a first try without a server.
//
// A [Store] is the server: it keeps records and ends sessions that are not
// renewed. A [Conn] is one client's link to it, and a [registry.Backend]. A test
// breaks the link in all the ways in which a network or a server does, and sees
// what its service makes of it, in real time or in a testing/synctest bubble,
// where an hour of outage takes no time:
//
//	store := memreg.NewStore()
//	conn := store.Conn()
//	reg := registry.New(conn, &registry.Options{TTL: 5 * time.Second})
//	…
//	conn.Cut()    // the registry cannot be reached
//	…
//	conn.Heal()
//	conn.Expire() // the server ends the session: a record is lost and comes back
//
// Importing the package lets [registry.Open] open "mem:" and "mem://name": a
// store of this process, the same for all that open the same name. It is there
// until the process ends.
package memreg

import (
	"context"
	"net/url"
	"strings"
	"sync"

	"github.com/go-rollcall/registry"
)

var named = struct {
	sync.Mutex
	stores map[string]*Store
}{stores: map[string]*Store{}}

func init() {
	registry.RegisterScheme("mem", func(_ context.Context, u *url.URL) (registry.Backend, error) {
		if _, err := registry.Params(u); err != nil {
			return nil, err
		}
		named.Lock()
		defer named.Unlock()
		s := named.stores[u.Host]
		if s == nil {
			s = NewStore()
			named.stores[u.Host] = s
		}
		c := s.Conn()
		c.name, c.root = strings.TrimSpace("memory "+u.Host), u.Path
		return c, nil
	})
}
