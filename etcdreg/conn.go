package etcdreg

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/internal/silence"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/stats"
)

// A conn is one client of the library, for one connection to one server. The
// library would connect again by itself, wait for it in each call, and go on with
// its watches without a word; a conn is given up as soon as its connection breaks,
// and the next call makes another. So it is the Registry that sets the pace.
type conn struct {
	b      *Backend
	server string
	cancel context.CancelFunc
	ready  chan struct{} // closed when client or err is set
	client *clientv3.Client
	err    error

	opened time.Time
	line   *silence.Line
	broken chan struct{} // closed by drop, once
	gone   bool          // broken is closed; guarded by b.mu
}

// connectTimeout bounds the wait for a server to take a connection, and for a login:
// one that does neither must not hold up the next.
const connectTimeout = 2 * time.Second

// closeTimeout bounds the wait for the client library to end what it has started,
// which asks nobody.
const closeTimeout = time.Second

// connect returns the connection, once its client has logged in.
func (b *Backend) connect(ctx context.Context) (*conn, error) {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil, registry.ErrClosed
	}
	if b.bad != nil {
		b.mu.Unlock()
		return nil, b.bad
	}
	if b.conn == nil {
		b.conn = b.open(b.servers[b.turn%len(b.servers)])
	}
	c := b.conn
	b.mu.Unlock()
	begun := time.Now()
	select {
	case <-c.ready:
	case <-ctx.Done():
		return nil, b.explain(ctx, c, begun, ctx.Err())
	}
	if c.err != nil {
		b.drop(c) // the next may be let in
		return nil, b.explain(ctx, c, begun, c.err)
	}
	return c, nil
}

// open makes a client. With a password that takes a request, so it does not wait.
func (b *Backend) open(server string) *conn {
	c := &conn{b: b, server: server, opened: time.Now(), line: silence.Begin(), ready: make(chan struct{}), broken: make(chan struct{})}
	cfg := b.opts.Config
	cfg.Endpoints, cfg.AutoSyncInterval = []string{server}, 0 // one connection, to this one
	cfg.Context, c.cancel = context.WithCancel(context.Background())
	cfg.Logger = zap.New(debugLog{})
	cfg.MaxUnaryRetries = 5                                   // a login has expired, or the rights of others are being changed
	cfg.DialTimeout = cmp.Or(cfg.DialTimeout, connectTimeout) // of the login
	connecting := grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: connectTimeout}
	most := grpc.MaxCallRecvMsgSize(cmp.Or(cfg.MaxCallRecvMsgSize, math.MaxInt32)) // in what is called past the library, too
	cfg.DialOptions = append(append([]grpc.DialOption{grpc.WithConnectParams(connecting), grpc.WithDefaultCallOptions(most)}, cfg.DialOptions...),
		grpc.WithStatsHandler(c),
		grpc.WithChainUnaryInterceptor(failFast),
		grpc.WithChainStreamInterceptor(failFastStream),
	)
	go func() {
		defer close(c.ready)
		c.client, c.err = clientv3.New(cfg)
	}()
	return c
}

// failFast has a call fail when there is no connection, and say why, where the
// library would have it wait.
func failFast(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return invoke(ctx, method, req, reply, cc, append(slices.Clip(opts), grpc.WaitForReady(false))...)
}

func failFastStream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, stream grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return stream(ctx, desc, cc, method, append(slices.Clip(opts), grpc.WaitForReady(false))...)
}

// TagRPC and the three below make conn a [stats.Handler]: it notes when something
// has come, and when the connection has ended.
func (c *conn) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// TagConn does nothing.
func (c *conn) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleRPC is told of each message.
func (c *conn) HandleRPC(_ context.Context, s stats.RPCStats) {
	switch s.(type) {
	case *stats.InHeader, *stats.InPayload, *stats.InTrailer:
		c.line.Heard()
	}
}

// HandleConn is told when the connection begins and ends.
func (c *conn) HandleConn(_ context.Context, s stats.ConnStats) {
	if _, ended := s.(*stats.ConnEnd); ended {
		c.b.drop(c)
	}
}

// drop gives up c: the next call goes to the next server.
func (b *Backend) drop(c *conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !c.gone {
		c.gone = true
		close(c.broken)
	}
	if b.conn == c {
		b.conn = nil
		b.turn++
		b.old.Go(c.close)
	}
}

// close returns when nothing of c is left, but for what the client library may leave:
// it waits for ever for the end of a watch that the server refuses in the moment in
// which the client is closed, one in some thousand times. Its connection is closed
// first, so that no more than two goroutines stay then.
func (c *conn) close() {
	c.cancel()
	<-c.ready
	if c.client == nil {
		return
	}
	_ = c.client.ActiveConnection().Close()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = c.client.Close()
	}()
	t := time.NewTimer(closeTimeout)
	defer t.Stop()
	select {
	case <-closed:
	case <-t.C:
	}
}

// do makes a request. If nothing at all comes until ctx's deadline, the connection
// is dead. A server that sees no leader is to say so at once, where it would hold the
// request for longer than some callers wait, and then be asked again.
func (b *Backend) do(ctx context.Context, f func(ctx context.Context, c *conn) error) error {
	c, err := b.connect(ctx)
	if err != nil {
		return err
	}
	sent := time.Now()
	return b.explain(ctx, c, sent, f(clientv3.WithRequireLeader(ctx), c))
}

// inVain notes that a call has waited in vain, and reports whether c is dead: a connection
// that is still being made has its time for that.
func (c *conn) inVain(sent time.Time) bool {
	if c.line.New() && time.Since(c.opened) < connectTimeout {
		return false
	}
	return c.line.InVain(sent)
}
