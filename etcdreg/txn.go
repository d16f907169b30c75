package etcdreg

import (
	"context"

	"github.com/go-rollcall/registry"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// Transactions are made of the protocol's messages. The library's Op is a large
// struct that becomes such messages: of 10,000 registrations, making them would cost
// half as much as all the rest of the writing.

// A replacement is how a record is written over what was there at a revision: all
// that is needed for it, in one piece.
type replacement struct {
	same     pb.Compare
	revision pb.Compare_ModRevision
	op       pb.RequestOp
	as       pb.RequestOp_RequestPut
	put      pb.PutRequest
}

// replacements writes each of recs over what was there at the revision of the same
// index in at, or where there is nothing if that is 0.
func (s *session) replacements(recs []registry.Record, at []int64) []replacement {
	all := make([]replacement, len(recs))
	for i, rec := range recs {
		r, key := &all[i], []byte(s.b.key(rec.Service, rec.ID))
		r.same.Key = key // whose version is 0, by default: less for the server to read
		if at[i] != 0 {
			r.revision.ModRevision = at[i]
			r.same.Target, r.same.Result, r.same.TargetUnion = pb.Compare_MOD, pb.Compare_EQUAL, &r.revision
		}
		r.put.Key, r.put.Value, r.put.Lease = key, rec.Value, int64(s.lease)
		r.as.RequestPut = &r.put
		r.op.Request = &r.as
	}
	return all
}

// replaceAll writes recs if all are as they were at their revisions, and returns
// the revision of the writing. Otherwise it writes none, and does not read them
// either: that would cost a quarter more where there is nothing to read.
func (s *session) replaceAll(ctx context.Context, recs []registry.Record, at []int64) (done bool, revision int64, err error) {
	all := s.replacements(recs, at)
	txn := &pb.TxnRequest{Compare: make([]*pb.Compare, len(all)), Success: make([]*pb.RequestOp, len(all))}
	for i := range all {
		txn.Compare[i], txn.Success[i] = &all[i].same, &all[i].op
	}
	created := creates(recs, at)
	for _, service := range created {
		txn.Compare = append(txn.Compare, s.fenced(service))
	}
	resp, err := s.commit(ctx, txn)
	if err != nil && !isRefusal(err) {
		s.doubt(created)
	}
	return resp.GetSucceeded(), resp.GetHeader().GetRevision(), err
}

// replaceEach writes those of recs that are as they were at their revisions, says
// which that were, and returns the revision of the writing.
func (s *session) replaceEach(ctx context.Context, recs []registry.Record, at []int64) (done []bool, revision int64, err error) {
	all := s.replacements(recs, at)
	txn := &pb.TxnRequest{Success: make([]*pb.RequestOp, len(all))}
	for i := range all {
		conditions := []*pb.Compare{&all[i].same}
		if at[i] == 0 {
			conditions = append(conditions, s.fenced(recs[i].Service))
		}
		txn.Success[i] = within(&all[i].op, conditions...)
	}
	resp, err := s.commit(ctx, txn)
	if err != nil && !isRefusal(err) {
		s.doubt(creates(recs, at))
	}
	return succeeded(resp, len(recs)), resp.GetHeader().GetRevision(), err
}

// deleteEach removes those of recs that are as they were at their revisions, and says
// which that were.
func (s *session) deleteEach(ctx context.Context, recs []registry.Record, at []int64) (done []bool, err error) {
	txn := &pb.TxnRequest{}
	for i, rec := range recs {
		key := []byte(s.b.key(rec.Service, rec.ID))
		same := &pb.Compare{Target: pb.Compare_MOD, Result: pb.Compare_EQUAL, Key: key, TargetUnion: &pb.Compare_ModRevision{ModRevision: at[i]}}
		remove := &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: key}}}
		txn.Success = append(txn.Success, within(remove, same))
	}
	resp, err := s.commit(ctx, txn)
	return succeeded(resp, len(recs)), err
}

// succeeded says which of n transactions in one had their conditions met.
func succeeded(resp *pb.TxnResponse, n int) []bool {
	done := make([]bool, n)
	for i, r := range resp.GetResponses() {
		done[i] = r.GetResponseTxn().GetSucceeded()
	}
	return done
}

// read returns what is there of each of recs: an empty one where there is nothing.
func (s *session) read(ctx context.Context, recs []registry.Record) ([]*mvccpb.KeyValue, error) {
	txn := &pb.TxnRequest{}
	for _, rec := range recs {
		get := &pb.RangeRequest{Key: []byte(s.b.key(rec.Service, rec.ID))}
		txn.Success = append(txn.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: get}})
	}
	resp, err := s.commit(ctx, txn)
	there := make([]*mvccpb.KeyValue, len(recs))
	for i := range there {
		there[i] = &mvccpb.KeyValue{}
	}
	for i, r := range resp.GetResponses() {
		if kvs := r.GetResponseRange().GetKvs(); len(kvs) > 0 {
			there[i] = kvs[0]
		}
	}
	return there, err
}

// within is a transaction inside another, with conditions of its own: where they do
// not hold, the others are not concerned.
func within(op *pb.RequestOp, conditions ...*pb.Compare) *pb.RequestOp {
	txn := &pb.TxnRequest{Compare: conditions, Success: []*pb.RequestOp{op}}
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: txn}}
}

func (s *session) commit(ctx context.Context, txn *pb.TxnRequest) (resp *pb.TxnResponse, err error) {
	err = s.b.do(ctx, func(ctx context.Context, c *conn) error {
		resp, err = pb.NewKVClient(c.client.ActiveConnection()).Txn(ctx, txn)
		return err
	})
	return resp, err
}
