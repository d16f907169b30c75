package etcdreg_test

import (
	"context"
	"crypto/rand"
	mrand "math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/go-rollcall/registry/etcdreg"
	"github.com/go-rollcall/registry/internal/testserver"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A connection that is closed while the server refuses a watch may have the client
// library wait for ever for the end of that watch: in one of some 6,000 rounds.
func TestCloseWhileRefused(t *testing.T) {
	e := testserver.SharedEtcd(t)
	if !e.CanDeny() {
		t.Skip("the server from outside asks for no credentials")
	}
	admin, root := e.Admin(t), "/"+t.Name()+rand.Text()
	user, password := admin.User(t, root)
	t.Cleanup(func() { admin.Delete(t, root) })
	deny, allow := admin.Rights(t, user, root)
	deny("svc")
	defer allow("svc")
	var wg sync.WaitGroup
	defer wg.Wait()
	const rounds, atOnce = 1500, 16
	turn := make(chan struct{}, atOnce)
	for range rounds {
		turn <- struct{}{}
		wg.Go(func() {
			defer func() { <-turn }()
			b := etcdreg.New([]string{e.Addr()}, &etcdreg.Options{Root: root, Config: clientv3.Config{Username: user, Password: password}})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var watches sync.WaitGroup
			for range 4 {
				watches.Go(func() { etcdreg.Stream(b, ctx, "svc") })
			}
			pause := time.NewTimer(mrand.N(20 * time.Millisecond)) // to meet the moment of the refusal
			<-pause.C
			begin := time.Now()
			b.Close()
			if d := time.Since(begin); d > 10*time.Second { // twice 1 s, and a slow machine
				t.Errorf("Close returned after %v", d)
			}
			cancel()
			watches.Wait()
		})
	}
}
