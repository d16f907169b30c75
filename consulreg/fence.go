package consulreg

import (
	"context"
	"errors"
	"strconv"

	"github.com/go-rollcall/registry"
	"github.com/hashicorp/consul/api"
)

// A fence keeps out the creation of keys of one service that was asked for and not
// answered: a server may carry it out seconds later, when what was to be created has been
// deleted since, and nothing else would stand in its way. Each creation is bound to the
// fence as it is, and before anything is written after one that was not answered the
// fence is moved.
//
// It is a key of the session's, where no record can be, and is not there until it is
// moved for the first time.
type fence struct {
	index  uint64 // 0: it is not there
	moves  int
	doubts bool // something was not answered
}

// fence returns that of service. s.mu is held.
func (s *session) fence(service string) *fence {
	f := s.fences[service]
	if f == nil {
		f = &fence{}
		s.fences[service] = f
	}
	return f
}

func (s *session) fenceKey(service string) string { return s.b.path(service) + "~/" + s.id }

// fenced is the condition of creating keys of service.
func (s *session) fenced(service string) *api.KVTxnOp {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.fence(service); f.index > 0 {
		return &api.KVTxnOp{Verb: api.KVCheckIndex, Key: s.fenceKey(service), Index: f.index}
	}
	return &api.KVTxnOp{Verb: api.KVCheckNotExists, Key: s.fenceKey(service)}
}

// doubt notes that a creation of keys under a fence was not answered.
func (s *session) doubt(fence string) {
	service, _ := s.b.split(fence)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fence(service).doubts = true
}

// moveFences shuts out what was asked for and not answered in the services of recs, and
// returns why it could not, by service.
func (s *session) moveFences(ctx context.Context, recs []registry.Record) map[string]error {
	faults := map[string]error{}
	for _, rec := range recs {
		s.mu.Lock()
		f := s.fence(rec.Service)
		doubts := f.doubts && faults[rec.Service] == nil
		if doubts {
			f.moves++ // another value each time, or its index stays
		}
		move := &api.KVTxnOp{Verb: api.KVLock, Key: s.fenceKey(rec.Service), Value: []byte(strconv.Itoa(f.moves)), Session: s.id}
		s.mu.Unlock()
		if !doubts {
			continue
		}
		written, refused, err := s.b.transact(ctx, []*api.KVTxnOp{move})
		for _, why := range refused {
			err = why
		}
		if errors.Is(err, registry.ErrSessionLost) {
			err = s.ended(err)
		}
		if err != nil {
			faults[rec.Service] = err
			continue
		}
		s.mu.Lock()
		if p := written[move.Key]; p != nil {
			f.index, f.doubts = p.ModifyIndex, false
		}
		s.mu.Unlock()
	}
	return faults
}
