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

// batch bounds a transaction: servers take 1.5 MiB and 128 operations, those of the
// transactions within it included, unless they are told otherwise.
var batch = registry.Batch{Records: 120, Bytes: 1 << 20, InFlight: 8}

// Put makes one transaction of many, each with a condition of its own, so that one
// that has been taken over does not fail the others. What is refused as a whole is
// so for the rights of the client, or for its size.
//
// Each writing is bound to the revision that it replaces: a request that is given up
// with its connection may still arrive, after others that followed it.
func (s *session) Put(ctx context.Context, recs []registry.Record) []error {
	s.begin(recs)
	return batch.Write(recs, func(recs []registry.Record, _ bool, errs []error) []int {
		at := make([]int64, len(recs))
		for i, rec := range recs {
			at[i] = s.heldAt(rec) // 0: most likely there is none
		}
		there, revision, err := s.replace(ctx, recs, at)
		if err != nil {
			for _, rec := range recs {
				s.done(rec, 0)
			}
			return fail(errs, err)
		}
		var again []registry.Record // which are not as assumed, and may be replaced
		var of []int
		at = at[:0]
		for i, rec := range recs {
			kv := there[i]
			switch {
			case kv == nil:
				s.done(rec, revision)
			case kv.ModRevision == 0, rec.TakeOver, registry.OwnerOf(kv.Value) == rec.Owner:
				again, of, at = append(again, rec), append(of, i), append(at, kv.ModRevision)
			default:
				s.done(rec, 0)
				errs[i] = fmt.Errorf("%w (lease %x holds it: %.200q)", registry.ErrSuperseded, kv.Lease, kv.Value)
			}
		}
		if len(again) == 0 {
			return nil
		}
		there, revision, err = s.replace(ctx, again, at)
		for k, rec := range again {
			switch {
			case err != nil:
				errs[of[k]] = err
				s.done(rec, 0)
			case there[k] != nil:
				errs[of[k]] = errChanged
				s.done(rec, 0)
			default:
				s.done(rec, revision)
			}
		}
		return nil
	})
}

var errChanged = errors.New("the record changed while it was written")

// replace writes each of recs over what was written at its revision, or where there
// is nothing if that is 0. It returns what stood in the way of those that were not
// written, and the revision of the others.
func (s *session) replace(ctx context.Context, recs []registry.Record, at []int64) (there []*mvccpb.KeyValue, revision int64, err error) {
	ops := make([]clientv3.Op, len(recs))
	for i, rec := range recs {
		key := s.b.key(rec.Service, rec.ID)
		same := clientv3.Compare(clientv3.ModRevision(key), "=", at[i])
		put := clientv3.OpPut(key, string(rec.Value), clientv3.WithLease(s.lease))
		ops[i] = clientv3.OpTxn([]clientv3.Cmp{same}, []clientv3.Op{put}, []clientv3.Op{clientv3.OpGet(key)})
	}
	return s.commit(ctx, ops)
}

// Delete removes what is on the lease.
func (s *session) Delete(ctx context.Context, recs []registry.Record) []error {
	s.begin(recs) // their absence is no loss
	return batch.Write(recs, func(recs []registry.Record, _ bool, errs []error) []int {
		ops := make([]clientv3.Op, len(recs))
		for i, rec := range recs {
			key := s.b.key(rec.Service, rec.ID)
			ours := clientv3.Compare(clientv3.LeaseValue(key), "=", s.lease)
			ops[i] = clientv3.OpTxn([]clientv3.Cmp{ours}, []clientv3.Op{clientv3.OpDelete(key)}, nil)
		}
		_, _, err := s.commit(ctx, ops)
		for _, rec := range recs {
			s.done(rec, 0)
		}
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
	txn := r.GetResponseTxn()
	if txn.GetSucceeded() || len(txn.GetResponses()) == 0 {
		return nil
	}
	if kvs := txn.Responses[0].GetResponseRange().GetKvs(); len(kvs) > 0 {
		return kvs[0]
	}
	return &mvccpb.KeyValue{} // there is nothing where something was
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
