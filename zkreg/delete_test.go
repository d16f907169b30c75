package zkreg_test

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/internal/testserver"
	"github.com/go-rollcall/registry/zkreg"
)

// TestDeleteWithAValue: of a record that is to be deleted only the name counts.
func TestDeleteWithAValue(t *testing.T) {
	t.Parallel()
	z := testserver.SharedZooKeeper(t)
	root := "/" + t.Name() + rand.Text()
	t.Cleanup(func() { z.Admin(t).Delete(t, root) })
	b := zkreg.New([]string{z.Addr()}, &zkreg.Options{Root: root})
	defer b.Close()
	s, err := b.NewSession(t.Context(), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(t.Context())
	recs := []registry.Record{{Service: "s", ID: "x", Value: []byte(`{"addr":"h:1"}`), Owner: "o", TakeOver: true}}
	for _, err := range append(s.Put(t.Context(), recs), s.Delete(t.Context(), recs)...) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if list, err := b.Lookup(t.Context(), "s"); err != nil || len(list) > 0 {
		t.Errorf("after the deletion there is %v (%v)", list, err)
	}
}
