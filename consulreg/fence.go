package consulreg

import (
	"context"
	"errors"
	"strconv"

	"github.com/go-rollcall/registry"
	"github.com/hashicorp/consul/api"
)

func (s *session) fenceKey(service string) string { return s.b.path(service) + "~/" + s.id }

// fenced is the condition of writing keys of service.
func (s *session) fenced(service string) *api.KVTxnOp {
	if index := s.fences.At(service); index > 0 {
		return &api.KVTxnOp{Verb: api.KVCheckIndex, Key: s.fenceKey(service), Index: index}
	}
	return &api.KVTxnOp{Verb: api.KVCheckNotExists, Key: s.fenceKey(service)}
}

// doubt notes that what was to be written under a fence was not answered.
func (s *session) doubt(fence string) {
	service, _ := s.b.split(fence)
	s.fences.Doubt(service)
}

// moveFence shuts out what was to be written in service and was not answered. The value
// is another each time: with the same one the index would stay.
func (s *session) moveFence(ctx context.Context, service string) (index uint64, err error) {
	key := s.fenceKey(service)
	s.moves++
	move := &api.KVTxnOp{Verb: api.KVLock, Key: key, Value: strconv.AppendUint(nil, s.moves, 10), Session: s.id}
	written, refused, err := s.b.transact(ctx, []*api.KVTxnOp{move})
	for _, why := range refused {
		err = why
	}
	if errors.Is(err, registry.ErrSessionLost) {
		err = s.ended(err)
	}
	if p := written[key]; p != nil {
		index = p.ModifyIndex
	}
	return index, err
}
