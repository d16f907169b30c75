package zkreg_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/internal/testserver"
	"github.com/go-rollcall/registry/zkreg"
)

// beforeGet calls f before a request that reads the data of one of ours, twice.
type beforeGet struct {
	net.Conn
	once *[2]sync.Once
	f    func(n int)
}

func (c beforeGet) Write(p []byte) (int, error) {
	const opGetData = 4
	if len(p) > 16 && binary.BigEndian.Uint32(p[8:]) == opGetData && bytes.Contains(p, []byte("/h:")) {
		done := false
		for i := range c.once {
			if !done {
				c.once[i].Do(func() { done = true; c.f(i) })
			}
		}
	}
	return c.Conn.Write(p)
}

// TestSwapWhileReading: an instance is replaced by another between the reading of the names
// and that of the nodes, again and again: there was never nobody.
func TestSwapWhileReading(t *testing.T) {
	z := testserver.SharedZooKeeper(t)
	admin := z.Admin(t)
	for _, how := range []string{"Lookup", "Watch", "Lookup, beside junk", "Watch, beside junk"} {
		t.Run(how, func(t *testing.T) {
			how, _, junk := strings.Cut(how, ",")
			root := "/" + t.Name() + rand.Text()
			node := func(i int) string { return fmt.Sprintf("%s/svc/h:%d", root, i+1) }
			admin.Set(t, node(0), nil)
			if junk {
				admin.Set(t, root+"/svc/config", []byte("{}"))
			}
			t.Cleanup(func() { admin.Delete(t, root) })
			swap := func(i int) {
				admin.Set(t, node(i+1), nil)
				admin.Delete(t, node(i))
			}
			var once [2]sync.Once
			dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
				c, err := new(net.Dialer).DialContext(ctx, network, addr)
				return beforeGet{c, &once, swap}, err
			}
			reg := registry.New(zkreg.New([]string{z.Addr()}, &zkreg.Options{Root: root, Dial: dial}), nil)
			defer reg.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if how == "Lookup" {
				list, err := reg.Lookup(ctx, "svc")
				if err != nil || len(list) != 1 || list[0].ID != "h:3" {
					t.Errorf("%v, %v; want h:3", list, err)
				}
				return
			}
			for s, err := range reg.Watch(ctx, "svc") {
				if err != nil || len(s.Instances) != 1 {
					t.Errorf("%v, %v; want one instance", s.Instances, err)
				}
				break
			}
		})
	}
}
