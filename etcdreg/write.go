package etcdreg

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-rollcall/registry"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// batch bounds a transaction: servers take 128 operations and 1.5 MiB, unless they
// are told otherwise.
var batch = registry.Batch{Records: 128, Bytes: 1 << 20, InFlight: 8}

// Put makes one transaction of many, each with a condition of its own, so that one
// that has been taken over does not fail the others. What is refused as a whole is
// so for the rights of the client, or for its size.
func (s *session) Put(ctx context.Context, recs []registry.Record) []error {
	return batch.Write(recs, func(recs []registry.Record, _ bool, errs []error) []int {
		ops := make([]clientv3.Op, len(recs))
		for i, rec := range recs {
			ops[i] = s.putOp(rec)
		}
		there, revision, err := s.commit(ctx, ops)
		if err != nil {
			return fail(errs, err)
		}
		// The records of the registration's own, from a session before this one.
		var old []int
		var replace []clientv3.Op
		for i, rec := range recs {
			kv := there[i]
			switch {
			case kv == nil:
				s.hold(rec, revision)
			case registry.OwnerOf(kv.Value) == rec.Owner:
				old = append(old, i)
				replace = append(replace, s.replaceOp(rec, kv.ModRevision))
			default:
				errs[i] = fmt.Errorf("%w (lease %x holds it: %.200q)", registry.ErrSuperseded, kv.Lease, kv.Value)
			}
		}
		if len(old) == 0 {
			return nil
		}
		there, revision, err = s.commit(ctx, replace)
		for k, i := range old {
			switch {
			case err != nil:
				errs[i] = err
			case there[k] != nil:
				errs[i] = errChanged
			default:
				s.hold(recs[i], revision)
			}
		}
		return nil
	})
}

var errChanged = errors.New("the record changed while it was written")

// putOp writes rec if nobody else has it, and otherwise gets who does. The first
// writing of a registration takes over whatever is there.
func (s *session) putOp(rec registry.Record) clientv3.Op {
	key := s.b.key(rec.Service, rec.ID)
	put := []clientv3.Op{clientv3.OpPut(key, string(rec.Value), clientv3.WithLease(s.lease))}
	if rec.TakeOver {
		return put[0]
	}
	absent := clientv3.OpTxn([]clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(key), "=", 0)}, put, []clientv3.Op{clientv3.OpGet(key)})
	return clientv3.OpTxn([]clientv3.Cmp{s.ours(key)}, put, []clientv3.Op{absent})
}

// replaceOp writes rec over what was written at a revision.
func (s *session) replaceOp(rec registry.Record, revision int64) clientv3.Op {
	key := s.b.key(rec.Service, rec.ID)
	same := clientv3.Compare(clientv3.ModRevision(key), "=", revision)
	put := clientv3.OpPut(key, string(rec.Value), clientv3.WithLease(s.lease))
	return clientv3.OpTxn([]clientv3.Cmp{same}, []clientv3.Op{put}, []clientv3.Op{clientv3.OpGet(key)})
}

func (s *session) ours(key string) clientv3.Cmp {
	return clientv3.Compare(clientv3.LeaseValue(key), "=", s.lease)
}

// Delete removes what is on the lease.
func (s *session) Delete(ctx context.Context, recs []registry.Record) []error {
	for _, rec := range recs {
		s.release(rec.Service, rec.ID) // before it goes: its absence is no loss
	}
	return batch.Write(recs, func(recs []registry.Record, _ bool, errs []error) []int {
		ops := make([]clientv3.Op, len(recs))
		for i, rec := range recs {
			key := s.b.key(rec.Service, rec.ID)
			ops[i] = clientv3.OpTxn([]clientv3.Cmp{s.ours(key)}, []clientv3.Op{clientv3.OpDelete(key)}, nil)
		}
		_, _, err := s.commit(ctx, ops)
		return fail(errs, err)
	})
}

// commit makes one transaction of ops. It returns for each what stood in its way,
// or nil, and the revision at which the others were done.
func (s *session) commit(ctx context.Context, ops []clientv3.Op) (there []*mvccpb.KeyValue, revision int64, err error) {
	err = s.b.do(ctx, func(c *conn) error {
		resp, err := c.client.Txn(ctx).Then(ops...).Commit()
		if err != nil {
			return err
		}
		revision = resp.Header.Revision
		for _, r := range resp.Responses {
			there = append(there, inTheWay(r))
		}
		return nil
	})
	return there, revision, err
}

func inTheWay(r *pb.ResponseOp) *mvccpb.KeyValue {
	if txn := r.GetResponseTxn(); txn != nil && !txn.Succeeded && len(txn.Responses) > 0 {
		return inTheWay(txn.Responses[0])
	}
	if get := r.GetResponseRange(); get != nil {
		if len(get.Kvs) == 0 {
			return &mvccpb.KeyValue{} // gone again, and not by our doing
		}
		return get.Kvs[0]
	}
	return nil
}

// fail notes err for all, and returns them if they are to be written again in
// smaller company.
func fail(errs []error, err error) (refused []int) {
	for i := range errs {
		errs[i] = err
		if isRefusal(err) {
			refused = append(refused, i)
		}
	}
	return refused
}
