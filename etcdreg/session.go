package etcdreg

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-rollcall/registry"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A session is a lease. It is not bound to a connection.
type session struct {
	b      *Backend
	lease  clientv3.LeaseID
	fences registry.Fences

	renewing sync.Mutex // held by Renew and Close; guards stream
	stream   *renewals

	mu       sync.Mutex
	ttl      time.Duration
	holdings map[string]*holding // by service
	wrote    time.Time           // when a writing last began or ended
	wake     chan struct{}       // capacity 1: there may be a holding that is not watched
}

// renewals is a stream on which a lease is renewed. A stream for each renewal, as
// the library has it, would be a login each where there is a password.
type renewals struct {
	pb.Lease_LeaseKeepAliveClient
	c      *conn
	cancel context.CancelFunc
}

// NewSession grants a lease.
func (b *Backend) NewSession(ctx context.Context, ttl time.Duration) (registry.Session, error) {
	s := &session{b: b, holdings: map[string]*holding{}, wake: make(chan struct{}, 1)}
	err := b.do(ctx, func(ctx context.Context, c *conn) error {
		resp, err := c.client.Grant(ctx, int64((ttl+time.Second-1)/time.Second))
		if err == nil {
			s.lease, s.ttl = resp.ID, time.Duration(resp.TTL)*time.Second
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (s *session) String() string { return fmt.Sprintf("lease %x", int64(s.lease)) }

func (s *session) TTL() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ttl
}

func (s *session) Renew(ctx context.Context) error {
	s.renewing.Lock()
	defer s.renewing.Unlock()
	return s.b.do(ctx, func(_ context.Context, c *conn) error {
		if s.stream == nil || s.stream.c != c {
			if err := s.reopen(ctx, c); err != nil {
				return err
			}
		}
		stop := context.AfterFunc(ctx, s.stream.cancel)
		resp, err := s.stream.ask(s.lease)
		if !stop() || err != nil {
			s.endStream() // an answer that comes late must not be taken for the next one's
		}
		if err != nil {
			return s.unrenewable(err)
		}
		if resp.TTL <= 0 {
			return fmt.Errorf("%w: %s does not know %v any more", registry.ErrSessionLost, c.server, s)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ttl = time.Duration(resp.TTL) * time.Second
		return nil
	})
}

// unrenewable takes a refusal for the end of the session: a server refuses to renew
// a lease when the client may not write any more one of the keys on it. The others
// are to be put on a new lease while this one lives.
func (s *session) unrenewable(err error) error {
	if errors.Is(rpctypes.Error(err), rpctypes.ErrPermissionDenied) {
		return fmt.Errorf("%w: %v holds a record that this client may not write any more: %w", registry.ErrSessionLost, s, err)
	}
	return err
}

// reopen opens a stream on c, which stays for later renewals.
func (s *session) reopen(ctx context.Context, c *conn) error {
	s.endStream()
	open, cancel := context.WithCancel(clientv3.WithRequireLeader(context.Background()))
	stop := context.AfterFunc(ctx, cancel)
	stream, err := pb.NewLeaseClient(c.client.ActiveConnection()).LeaseKeepAlive(open)
	if err == nil && !stop() {
		err = ctx.Err()
	}
	if err != nil {
		cancel()
		return err
	}
	s.stream = &renewals{stream, c, cancel}
	return nil
}

func (r *renewals) ask(lease clientv3.LeaseID) (*pb.LeaseKeepAliveResponse, error) {
	// An error of Send is one of Recv too, which says why.
	_ = r.Send(&pb.LeaseKeepAliveRequest{ID: int64(lease)})
	return r.Recv()
}

func (s *session) endStream() {
	if s.stream != nil {
		s.stream.cancel()
		s.stream = nil
	}
}

// Close revokes the lease, which deletes what is on it.
func (s *session) Close(ctx context.Context) error {
	s.renewing.Lock()
	s.endStream()
	s.renewing.Unlock()
	return s.b.do(ctx, func(_ context.Context, c *conn) error {
		_, err := c.client.Revoke(ctx, s.lease) // nobody asks again: it may wait for a leader
		return err
	})
}
