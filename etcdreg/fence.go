package etcdreg

import (
	"context"
	"fmt"

	"github.com/go-rollcall/registry"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// A fence keeps out the creation of records of one service that was asked for and not
// answered: it may arrive when what was to be created has been deleted since, and nothing
// else would stand in its way. Each creation is bound to the fence as it is, and before
// anything is written after one that was not answered the fence is moved.
//
// It is a key on the lease, where no record can be, and is not there until it is moved
// for the first time.
type fence struct {
	revision int64 // 0: it is not there
	doubts   bool  // something was not answered
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

func (s *session) fenceKey(service string) []byte {
	return fmt.Appendf(nil, "%s~/%x", s.b.prefix(service), int64(s.lease))
}

// creates returns the services of those of recs for which there was nothing at the
// revision of the same index.
func creates(recs []registry.Record, at []int64) (services []string) {
	seen := map[string]bool{}
	for i, rec := range recs {
		if at[i] == 0 && !seen[rec.Service] {
			seen[rec.Service] = true
			services = append(services, rec.Service)
		}
	}
	return services
}

// fenced is the condition of creating records of service.
func (s *session) fenced(service string) *pb.Compare {
	s.mu.Lock()
	defer s.mu.Unlock()
	revision := &pb.Compare_ModRevision{ModRevision: s.fence(service).revision}
	return &pb.Compare{Target: pb.Compare_MOD, Result: pb.Compare_EQUAL, Key: s.fenceKey(service), TargetUnion: revision}
}

// doubt notes that a creation of records of these services was not answered.
func (s *session) doubt(services ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, service := range services {
		s.fence(service).doubts = true
	}
}

// moveFences shuts out what was asked for and not answered in the services of recs, and
// returns why it could not, by service.
func (s *session) moveFences(ctx context.Context, recs []registry.Record) map[string]error {
	var faults map[string]error
	for _, service := range creates(recs, make([]int64, len(recs))) {
		s.mu.Lock()
		doubts := s.fence(service).doubts
		s.mu.Unlock()
		if !doubts {
			continue
		}
		put := &pb.PutRequest{Key: s.fenceKey(service), Lease: int64(s.lease)}
		resp, err := s.commit(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: put}}}})
		if err != nil {
			if faults == nil {
				faults = map[string]error{}
			}
			faults[service] = err
			continue
		}
		s.mu.Lock()
		*s.fence(service) = fence{revision: resp.Header.Revision}
		s.mu.Unlock()
	}
	return faults
}

// fencedWrite has write write those of recs whose services have their fences where they
// belong.
func (s *session) fencedWrite(ctx context.Context, recs []registry.Record, write func([]registry.Record) []error) []error {
	faults := s.moveFences(ctx, recs)
	if len(faults) == 0 {
		return write(recs)
	}
	errs := make([]error, len(recs))
	var rest []registry.Record
	var of []int
	for i, rec := range recs {
		if errs[i] = faults[rec.Service]; errs[i] == nil {
			rest, of = append(rest, rec), append(of, i)
		}
	}
	for k, err := range write(rest) {
		errs[of[k]] = err
	}
	return errs
}
