package etcdreg_test

import (
	"context"
	"crypto/rand"
	"sync"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/etcdreg"
	"github.com/go-rollcall/registry/internal/testserver"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

// A laggard keeps a transaction that writes or deletes, as a server does that is paused,
// and lets it be carried out later.
type laggard struct {
	mu   sync.Mutex
	keep bool
	kept *pb.TxnRequest
}

func (l *laggard) intercept(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	l.mu.Lock()
	txn, ok := req.(*pb.TxnRequest)
	if !l.keep || !ok || reads(txn) {
		l.mu.Unlock()
		return invoke(ctx, method, req, reply, cc, opts...)
	}
	l.kept = txn
	l.mu.Unlock()
	<-ctx.Done()
	return ctx.Err()
}

func reads(txn *pb.TxnRequest) bool {
	for _, op := range txn.Success {
		if op.GetRequestRange() == nil {
			return false
		}
	}
	return true
}

func (l *laggard) keeps(keep bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keep = keep
}

// TestLateRequest: a request that was given up, and is carried out after others that
// followed it, changes nothing.
func TestLateRequest(t *testing.T) {
	e := testserver.SharedEtcd(t)
	admin, root := e.Admin(t), "/"+t.Name()+rand.Text()
	user, password := admin.User(t, root)
	t.Cleanup(func() { admin.Delete(t, root) })
	l := &laggard{}
	b := etcdreg.New([]string{e.Addr()}, &etcdreg.Options{Root: root, Config: clientv3.Config{
		Username: user, Password: password, DialOptions: []grpc.DialOption{grpc.WithChainUnaryInterceptor(l.intercept)}}})
	defer b.Close()
	other, err := clientv3.New(clientv3.Config{Endpoints: []string{e.Addr()}, Username: user, Password: password})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	s, err := b.NewSession(t.Context(), 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	rec := func(n string) []registry.Record {
		return []registry.Record{{Service: "svc", ID: "x", Value: []byte(`{"addr":"h:1","meta":{"n":"` + n + `"},"owner":"o"}`), Owner: "o"}}
	}
	write := func(what string, op func(context.Context, []registry.Record) []error, r []registry.Record) {
		t.Helper()
		for tries := 0; ; tries++ { // as the root does: the outcome of another may be unknown
			err := op(t.Context(), r)[0]
			if err == nil {
				return
			}
			if tries == 3 {
				t.Fatalf("%s: %v", what, err)
			}
		}
	}
	late := func(what string, op func(context.Context, []registry.Record) []error, r []registry.Record) {
		t.Helper()
		l.keeps(true)
		defer l.keeps(false)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if err := op(ctx, r)[0]; err == nil {
			t.Fatalf("%s: there was an answer", what)
		}
	}
	is := func(when, want string) {
		t.Helper()
		if _, err := pb.NewKVClient(other.ActiveConnection()).Txn(t.Context(), l.kept); err != nil {
			t.Fatalf("%s: the late request: %v", when, err)
		}
		recs, err := b.Lookup(t.Context(), "svc")
		got := ""
		if len(recs) > 0 {
			got = string(recs[0].Value)
		}
		if err != nil || got != want {
			t.Errorf("%s: %q (%v), want %q", when, got, err, want)
		}
	}
	for range 2 { // the fence moves for the first time, and then again
		late("create", s.Put, rec("1"))
		write("delete", s.Delete, rec("1"))
		is("a creation after the deletion", "")

		write("create", s.Put, rec("2"))
		late("update", s.Put, rec("3"))
		write("update", s.Put, rec("4"))
		is("an update after the next", string(rec("4")[0].Value))

		late("delete", s.Delete, rec("4"))
		write("create", s.Put, rec("5"))
		is("a deletion after the next registration", string(rec("5")[0].Value))
		write("delete", s.Delete, rec("5"))
	}
}
