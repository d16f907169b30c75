package etcdreg

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-rollcall/registry"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// errLearner is what a member says that does not vote yet.
var errLearner = rpctypes.Error(rpctypes.ErrGRPCNotSupportedForLearner)

// errBroken is why a watch ends that has lost its connection.
var errBroken = errors.New("the connection broke")

// A refusal is a server's answer that asking again will not change.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

func isRefusal(err error) bool {
	var r refusal
	return errors.As(err, &r)
}

// explain turns the errors of the library into ours, and gives c up if they mean
// that it is of no use any more.
func (b *Backend) explain(ctx context.Context, c *conn, sent time.Time, err error) error {
	if err == nil || errors.Is(err, registry.ErrSessionLost) {
		return err
	}
	if ctx.Err() != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) && c.inVain(sent) {
			b.drop(c)
		}
		return fmt.Errorf("%s: %w", c.server, context.Cause(ctx))
	}
	var known rpctypes.EtcdError
	if !errors.As(rpctypes.Error(err), &known) {
		// The reason for which a watch ended comes as a text.
		_, desc, _ := strings.Cut(err.Error(), "desc = ")
		_ = errors.As(rpctypes.Error(errors.New(desc)), &known)
	}
	if known == (rpctypes.EtcdError{}) {
		if s, ok := status.FromError(err); ok && s.Code() == codes.ResourceExhausted {
			return refusal{fmt.Errorf("%w: %s: %s", registry.ErrTooLarge, c.server, s.Message())}
		} else if ok {
			err = errors.New(s.Message())
		} else if errors.Is(err, clientv3.ErrMutuallyExclusiveCfg) {
			err = fmt.Errorf("%w Options.Config: %w", registry.ErrInvalid, err)
		}
		b.drop(c)
		return fmt.Errorf("%s: %w", c.server, err)
	}
	kind := error(nil)
	switch known {
	case rpctypes.ErrPermissionDenied, rpctypes.ErrAuthFailed, rpctypes.ErrUserEmpty, rpctypes.ErrUserNotFound:
		kind = registry.ErrDenied
	case rpctypes.ErrLeaseNotFound:
		kind = registry.ErrSessionLost
	case rpctypes.ErrRequestTooLarge:
		kind = registry.ErrTooLarge
	case rpctypes.ErrLeaseTTLTooLarge:
		kind = registry.ErrInvalid
	case rpctypes.ErrTooManyOps: // a server may allow fewer than most do
		return refusal{fmt.Errorf("%s: %w", c.server, known)}
	case rpctypes.ErrInvalidAuthToken, rpctypes.ErrAuthOldRevision: // another login helps, if we may
		if b.opts.Config.Token != "" {
			kind = registry.ErrDenied
		}
		b.drop(c)
	case rpctypes.ErrNoLeader, rpctypes.ErrNotCapable, errLearner, rpctypes.ErrStopped, rpctypes.ErrUnhealthy, rpctypes.ErrCorrupt,
		rpctypes.ErrTimeout, rpctypes.ErrTimeoutDueToLeaderFail, rpctypes.ErrTimeoutDueToConnectionLost, rpctypes.ErrTimeoutWaitAppliedIndex:
		b.drop(c) // it cannot serve, and another server may
	}
	if kind == nil {
		return fmt.Errorf("%s: %w", c.server, known)
	}
	err = fmt.Errorf("%w: %s: %w", kind, c.server, known)
	if kind == registry.ErrSessionLost {
		return err
	}
	return refusal{err}
}
