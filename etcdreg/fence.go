package etcdreg

import (
	"context"
	"fmt"

	"github.com/go-rollcall/registry"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func (s *session) fenceKey(service string) []byte {
	return fmt.Appendf(nil, "%s~/%x", s.b.prefix(service), int64(s.lease))
}

// fenced is the condition of creating records of service.
func (s *session) fenced(service string) *pb.Compare {
	revision := &pb.Compare_ModRevision{ModRevision: int64(s.fences.At(service))}
	return &pb.Compare{Target: pb.Compare_MOD, Result: pb.Compare_EQUAL, Key: s.fenceKey(service), TargetUnion: revision}
}

// moveFence shuts out what was to be created in service and was not answered.
func (s *session) moveFence(ctx context.Context, service string) (revision uint64, err error) {
	put := &pb.PutRequest{Key: s.fenceKey(service), Lease: int64(s.lease)}
	resp, err := s.commit(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: put}}}})
	return uint64(resp.GetHeader().GetRevision()), err
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

// doubt notes that the creation of records of these services was not answered.
func (s *session) doubt(services []string) {
	for _, service := range services {
		s.fences.Doubt(service)
	}
}
