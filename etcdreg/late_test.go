package etcdreg_test

import (
	"context"
	"crypto/rand"
	"sync"
	"testing"

	"github.com/go-rollcall/registry/etcdreg"
	"github.com/go-rollcall/registry/internal/late"
	"github.com/go-rollcall/registry/internal/testserver"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

// A laggard keeps transactions of a kind.
type laggard struct {
	mu   sync.Mutex
	kind late.Kind // 0: none
	kept *pb.TxnRequest
}

func (l *laggard) keep(k late.Kind) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kind = k
}

func (l *laggard) intercept(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	txn, ok := req.(*pb.TxnRequest)
	l.mu.Lock()
	keeps := ok && l.kind != 0 && kindOf(txn) == l.kind
	if keeps {
		l.kept = txn
	}
	l.mu.Unlock()
	if !keeps {
		return invoke(ctx, method, req, reply, cc, opts...)
	}
	<-ctx.Done()
	return ctx.Err()
}

// kindOf tells transactions apart as the package makes them, 0 if they only read.
func kindOf(txn *pb.TxnRequest) late.Kind {
	op := txn.Success[0]
	if within := op.GetRequestTxn(); within != nil {
		if op = within.Success[0]; op.GetRequestDeleteRange() != nil {
			return late.Delete
		}
		return late.TakeOver
	}
	if op.GetRequestPut() != nil {
		return late.Write
	}
	return 0
}

func TestLateRequest(t *testing.T) {
	e := testserver.SharedEtcd(t)
	admin, root := e.Admin(t), "/"+t.Name()+rand.Text()
	user, password := admin.User(t, root)
	t.Cleanup(func() { admin.Delete(t, root) })
	l := &laggard{}
	b := etcdreg.New([]string{e.Addr()}, &etcdreg.Options{Root: root, Config: clientv3.Config{
		Username: user, Password: password, DialOptions: []grpc.DialOption{grpc.WithChainUnaryInterceptor(l.intercept)}}})
	t.Cleanup(func() { _ = b.Close() })
	direct, err := clientv3.New(clientv3.Config{Endpoints: []string{e.Addr()}, Username: user, Password: password})
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	late.Run(t, b, late.Network{
		Keep: l.keep,
		Pass: func() { l.keep(0) },
		Deliver: func() error {
			_, err := pb.NewKVClient(direct.ActiveConnection()).Txn(t.Context(), l.kept)
			return err
		},
	})
}
