package consulreg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/go-rollcall/registry"
	"github.com/hashicorp/consul/api"
)

// batch bounds a transaction, which may have 128 operations: at first one for each record
// and its fence, and three and the fence for one that is taken over. A request may have
// 512 KiB, in which values are written in base64.
var batch = registry.Batch{Records: 64, Again: 32, Bytes: 256 << 10, InFlight: 16}

// Put locks each key, which also sets its value, and changes nothing if it is ours with
// that value. If one is held by another session, all of the transaction are read, and
// then taken over or left alone.
//
// Each writing is bound to the fence: a server keeps a request for seconds while there is
// no leader, and one that was given up would otherwise be carried out after others that
// followed it.
func (s *session) Put(ctx context.Context, recs []registry.Record) []error {
	return s.write(ctx, recs, s.planPut, func(uint64) (*api.KVPair, bool) {
		return nil, true // or ours, which is the same
	})
}

// Delete removes each key as of the index at which it was ours, or reads it first
// if that is not known.
func (s *session) Delete(ctx context.Context, recs []registry.Record) []error {
	return s.write(ctx, recs, s.planDelete, func(index uint64) (*api.KVPair, bool) {
		return &api.KVPair{Session: s.id, ModifyIndex: index}, index > 0
	})
}

// A plan says which operations write rec where old is, nil if there is nothing.
// None if it need not be written.
type plan func(rec registry.Record, key string, old *api.KVPair) ([]*api.KVTxnOp, error)

func (s *session) planPut(rec registry.Record, key string, old *api.KVPair) ([]*api.KVTxnOp, error) {
	lock := &api.KVTxnOp{Verb: api.KVLock, Key: key, Value: rec.Value, Session: s.id}
	switch {
	case old == nil || old.Session == "" || old.Session == s.id:
		return []*api.KVTxnOp{lock}, nil
	case !rec.TakeOver && registry.OwnerOf(old.Value) != rec.Owner:
		return nil, fmt.Errorf("%w (session %s holds it: %.200q)", registry.ErrSuperseded, old.Session, old.Value)
	}
	// A lock cannot be taken from another session, but all in one transaction are one
	// change, to readers too. A delete-cas would not do: it is content with no key at all.
	return []*api.KVTxnOp{{Verb: api.KVCheckIndex, Key: key, Index: old.ModifyIndex}, {Verb: api.KVDelete, Key: key}, lock}, nil
}

func (s *session) planDelete(_ registry.Record, key string, old *api.KVPair) ([]*api.KVTxnOp, error) {
	if old == nil || old.Session != s.id {
		return nil, nil
	}
	return []*api.KVTxnOp{{Verb: api.KVDeleteCAS, Key: key, Index: old.ModifyIndex}}, nil
}

// write makes batches of recs. At first it plans on what assume says of a record that was
// ours as of index, 0 for one that was not, and reads only those of which that says
// nothing.
func (s *session) write(ctx context.Context, recs []registry.Record, plan plan, assume func(index uint64) (*api.KVPair, bool)) []error {
	move := func(service string) (uint64, error) { return s.moveFence(ctx, service) }
	return s.fences.Write(recs, move, func(recs []registry.Record) []error { return s.writeFenced(ctx, recs, plan, assume) })
}

func (s *session) writeFenced(ctx context.Context, recs []registry.Record, plan plan, assume func(index uint64) (*api.KVPair, bool)) []error {
	return batch.Write(recs, func(recs []registry.Record, again bool, errs []error) (refused []int) {
		err := s.state()
		old := map[string]*api.KVPair{}
		keys := make([]string, len(recs))
		var unknown []string
		for i, rec := range recs {
			keys[i] = s.b.path(rec.Service) + rec.ID
			there, known := assume(s.forget(rec.Service, keys[i], 0))
			if again || !known {
				unknown = append(unknown, keys[i])
			} else {
				old[keys[i]] = there
			}
		}
		if err == nil && len(unknown) > 0 {
			var read map[string]*api.KVPair
			read, err = s.b.get(ctx, unknown)
			maps.Copy(old, read)
		}
		if err != nil {
			for i := range errs {
				errs[i] = err
			}
			return nil
		}
		var ops []*api.KVTxnOp
		var of []int // the record that an operation is for; -1: a fence
		fenced := map[string]bool{}
		for i, rec := range recs {
			there, ok := old[keys[i]]
			if !ok {
				errs[i] = s.b.unreadable(keys[i])
				continue
			}
			var some []*api.KVTxnOp
			some, errs[i] = plan(rec, keys[i], there)
			if len(some) > 0 && some[len(some)-1].Verb == api.KVLock && !fenced[rec.Service] {
				fenced[rec.Service] = true
				ops, of = append(ops, s.fenced(rec.Service)), append(of, -1)
			}
			for _, op := range some {
				ops, of = append(ops, op), append(of, i)
			}
		}
		return s.commit(ctx, recs, ops, of, errs)
	})
}

// commit makes one transaction. If the server refuses it, those records are to be
// written again that were not refused for good.
func (s *session) commit(ctx context.Context, recs []registry.Record, ops []*api.KVTxnOp, of []int, errs []error) (refused []int) {
	if len(ops) == 0 {
		return nil
	}
	written, why, err := s.b.transact(ctx, ops)
	if err != nil {
		var r *refusal
		answered := errors.As(err, &r) && r.settled()
		for n, i := range of {
			if i >= 0 {
				errs[i] = err
			} else if !answered {
				s.doubt(ops[n].Key)
			}
		}
		if errors.Is(err, registry.ErrTooLarge) { // each may fit by itself
			return concerned(of)
		}
		return nil
	}
	if len(why) == 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		for i, op := range ops {
			if p := written[op.Key]; p != nil && op.Verb == api.KVLock {
				s.hold(recs[of[i]].Service, op.Key, p.ModifyIndex)
			}
		}
		return nil
	}
	var moved bool               // a fence: by a move that was not answered, or by somebody else
	denied := map[string]error{} // fences, by service
	for n, i := range of {
		err := why[n]
		if i < 0 {
			if errors.Is(err, registry.ErrDenied) {
				service, _ := s.b.split(ops[n].Key)
				denied[service] = err
			} else if err != nil {
				moved = true
				s.doubt(ops[n].Key)
			}
			continue
		}
		switch {
		case denied[recs[i].Service] != nil:
			errs[i] = denied[recs[i].Service]
		case errors.Is(err, registry.ErrSessionLost):
			errs[i] = s.ended(err)
		case err != nil:
			errs[i] = err
		case errs[i] == nil:
			errs[i] = errors.New("refused with others")
		}
	}
	if moved {
		return nil // what is written again now would be refused again
	}
	return slices.DeleteFunc(concerned(of), func(i int) bool { return forGood(errs[i]) })
}

// concerned returns the records that operations are for.
func concerned(of []int) (recs []int) {
	for n, i := range of {
		if i >= 0 && (n == 0 || of[n-1] != i) {
			recs = append(recs, i)
		}
	}
	return recs
}

// errDelayed is a lock refused that nobody holds.
var errDelayed = errors.New("the session that held it has ended, and had asked for this delay")

// forGood reports whether reading what is there would not help.
func forGood(err error) bool {
	for _, kind := range []error{errDelayed, registry.ErrDenied, registry.ErrSessionLost} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// get reads keys, as many as fit into a transaction. Those that are absent are
// nil, and those that the token may not read are left out, as the server does
// without a word.
func (b *Backend) get(ctx context.Context, keys []string) (map[string]*api.KVPair, error) {
	ops := make([]*api.KVTxnOp, len(keys))
	for i, key := range keys {
		ops[i] = &api.KVTxnOp{Verb: api.KVGetOrEmpty, Key: key}
	}
	found, refused, err := b.transact(ctx, ops)
	for _, why := range refused {
		err = why
	}
	for key, p := range found {
		if p.ModifyIndex == 0 {
			found[key] = nil
		}
	}
	return found, err
}

// transact makes one transaction. It returns the keys that are there, or why which
// operations were refused, in which case nothing was done.
func (b *Backend) transact(ctx context.Context, ops []*api.KVTxnOp) (there map[string]*api.KVPair, refused map[int]error, err error) {
	all := make(api.TxnOps, len(ops))
	for i, op := range ops {
		all[i] = &api.TxnOp{KV: op}
	}
	answer, _, err := ask(b, func() (*api.TxnResponse, *api.QueryMeta, error) {
		_, answer, meta, err := b.client.Txn().Txn(all, consistent(ctx))
		return answer, meta, err
	})
	var r *refusal
	if errors.As(err, &r) && r.status == http.StatusConflict {
		answer = &api.TxnResponse{}
		if json.Unmarshal([]byte(r.answer), answer) == nil && len(answer.Errors) > 0 {
			refused = map[int]error{}
			for _, e := range answer.Errors {
				refused[e.OpIndex] = r.because(e.What)
			}
			return nil, refused, nil
		}
	}
	if err != nil {
		return nil, nil, err
	}
	there = make(map[string]*api.KVPair, len(answer.Results))
	for _, result := range answer.Results {
		there[result.KV.Key] = result.KV
	}
	return there, nil, nil
}

// because is the error of one operation of a transaction.
func (r *refusal) because(what string) error {
	err := fmt.Errorf("%s: %s", r.server, what)
	switch {
	case strings.Contains(what, "Permission denied"):
		return fmt.Errorf("%w: %w", registry.ErrDenied, err)
	case strings.HasPrefix(what, "invalid session"):
		return fmt.Errorf("%w: %w", registry.ErrSessionLost, err)
	case strings.HasSuffix(what, "due to lock delay"):
		return fmt.Errorf("%w: %w", err, errDelayed)
	}
	return err
}
