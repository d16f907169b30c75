package etcdreg

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/go-rollcall/registry"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// batch bounds a transaction: servers take 1.5 MiB and 128 operations, those of the
// transactions within it included, unless they are told otherwise.
var batch = registry.Batch{Records: 120, Bytes: 1 << 20, InFlight: 8}

// Put takes it that what it knows nothing of is absent, and that the rest is as it
// was written last. If one record of a transaction is not, all of it are read, and
// each is written that may be. What is refused as a whole is so for the rights of the
// client, or for its size.
//
// Each writing is bound to the revision that it replaces, or to there being none and to
// the fence: a request that is given up with its connection may still arrive, after
// others that followed it.
func (s *session) Put(ctx context.Context, recs []registry.Record) []error {
	return s.fencedWrite(ctx, recs, s.put)
}

func (s *session) fencedWrite(ctx context.Context, recs []registry.Record, write func(context.Context, []registry.Record) []error) []error {
	move := func(service string) (uint64, error) { return s.moveFence(ctx, service) }
	return s.fences.Write(recs, move, func(recs []registry.Record) []error { return write(ctx, recs) })
}

// mostFences is how many conditions there may be beside those of the records.
const mostFences = 8

func (s *session) put(ctx context.Context, recs []registry.Record) []error {
	s.begin(recs, true)
	return batch.Write(recs, func(recs []registry.Record, _ bool, errs []error) []int {
		at := s.heldAt(recs)
		if len(creates(recs, at)) > mostFences {
			return s.putEach(ctx, recs, errs)
		}
		done, revision, err := s.replaceAll(ctx, recs, at)
		if err != nil {
			s.done(recs, 0)
			return fail(errs, err)
		}
		if done {
			s.done(recs, revision)
			return nil
		}
		return s.putEach(ctx, recs, errs)
	})
}

// putEach puts recs, of which it knows nothing.
func (s *session) putEach(ctx context.Context, recs []registry.Record, errs []error) (refused []int) {
	there, err := s.read(ctx, recs)
	if err != nil {
		s.done(recs, 0)
		return fail(errs, err)
	}
	var free []registry.Record // which may be replaced
	var of []int               // their indexes in recs
	var at []int64
	for i, rec := range recs {
		kv := there[i]
		if kv.ModRevision == 0 || rec.TakeOver || registry.OwnerOf(kv.Value) == rec.Owner {
			free, of, at = append(free, rec), append(of, i), append(at, kv.ModRevision)
			continue
		}
		s.done(recs[i:i+1], 0)
		errs[i] = fmt.Errorf("%w (lease %x holds it: %.200q)", registry.ErrSuperseded, kv.Lease, kv.Value)
	}
	if len(free) == 0 {
		return nil
	}
	done, revision, err := s.replaceEach(ctx, free, at)
	for k, i := range of {
		switch {
		case err != nil:
			errs[i] = err
			if isRefusal(err) {
				refused = append(refused, i)
			}
			s.done(recs[i:i+1], 0)
		case !done[k]:
			if at[k] == 0 { // or the fence has moved, late
				s.fences.Doubt(recs[i].Service)
			}
			errs[i] = errChanged
			s.done(recs[i:i+1], 0)
		default:
			s.done(recs[i:i+1], revision)
		}
	}
	return refused
}

var errChanged = errors.New("the record changed while it was written")

// Delete removes what is on the lease: as of the revision at which it was ours, so that a
// request which comes late does not remove what was registered since. What is not known to
// be ours is read.
func (s *session) Delete(ctx context.Context, recs []registry.Record) []error {
	return s.fencedWrite(ctx, recs, s.remove)
}

func (s *session) remove(ctx context.Context, recs []registry.Record) []error {
	s.begin(recs, false) // their absence is no loss
	return batch.Write(recs, func(recs []registry.Record, _ bool, errs []error) []int {
		at, err := s.ours(ctx, recs)
		done := make([]bool, len(recs))
		if err == nil && slices.Max(at) > 0 {
			done, err = s.deleteEach(ctx, recs, at)
		}
		s.done(recs, 0)
		if err != nil {
			return fail(errs, err)
		}
		for i := range recs {
			if at[i] > 0 && !done[i] {
				errs[i] = errChanged
			}
		}
		return nil
	})
}

// ours returns the revisions of those of recs that are on the lease, 0 for the others.
func (s *session) ours(ctx context.Context, recs []registry.Record) ([]int64, error) {
	at := s.heldAt(recs)
	if !slices.Contains(at, 0) {
		return at, nil
	}
	there, err := s.read(ctx, recs)
	for i, kv := range there {
		if at[i] == 0 && clientv3.LeaseID(kv.Lease) == s.lease {
			at[i] = kv.ModRevision
		}
	}
	return at, err
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
