package zkreg_test

import (
	"crypto/rand"
	"testing"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/internal/testserver"
	"github.com/go-rollcall/registry/zkreg"
)

// TestRoot: slashes at the ends of a root do not count.
func TestRoot(t *testing.T) {
	t.Parallel()
	z := testserver.SharedZooKeeper(t)
	root := t.Name() + rand.Text()
	t.Cleanup(func() { z.Admin(t).Delete(t, "/"+root) })
	open := func(root string) registry.Registry {
		reg := registry.New(zkreg.New([]string{z.Addr()}, &zkreg.Options{Root: root}), nil)
		t.Cleanup(func() { _ = reg.Close() })
		return reg
	}
	if _, err := open(root).Register(t.Context(), registry.Instance{Service: "s", Addr: "h:1"}); err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{"/" + root, root + "/", "/" + root + "//"} {
		if list, err := open(root).Lookup(t.Context(), "s"); err != nil || len(list) != 1 {
			t.Errorf("below root %q: %v, %v", root, list, err)
		}
	}
}
