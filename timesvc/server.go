// Package timesvc is a time server and its client: the worked example of the
// registry, and the load under which its backends are checked.
//
// The protocol is that of daytime (RFC 867): whoever connects is told the time
// and asks nothing. The answer is one line, after which the server ends the
// connection:
//
//	10.0.0.7:8897: 2026-03-01T12:00:00.000000001Z
//
// A Server can tell the same over HTTP: see [Server].HTTP.
package timesvc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-rollcall/registry"
)

const (
	// withdrawTimeout is how long a server that was told to stop waits for the
	// registry to confirm its withdrawal: whoever stopped it may kill it soon.
	withdrawTimeout = 2 * time.Second

	defaultDrain    = time.Second
	defaultMaxConns = 1024
)

// ErrServerClosed is what Serve returns after [Server.Close].
var ErrServerClosed = errors.New("timesvc: the server was closed")

// A Server tells the time on one listener, and announces itself in a registry
// while it does. Its fields must not be changed after Serve was called.
type Server struct {
	// Registry is where the server is announced. The caller closes it, after
	// Serve has returned.
	Registry registry.Registry

	// Service is the name to be found under.
	Service string

	// Advertise is the address that clients are told, host:port. If it is
	// empty, that is the listener's own, which must then name a host: 0.0.0.0
	// says nothing about where the server can be reached. A port of 0 stands
	// for the listener's port.
	Advertise string

	// ID tells the instance apart: see [registry.Instance].
	ID string

	// Meta is announced along with the address.
	Meta map[string]string

	// Drain is how long the server goes on answering after it was withdrawn,
	// for the clients that have not heard of it yet: 1 s if 0, not at all if
	// negative.
	Drain time.Duration

	// MaxConns bounds the connections that are open at a time: 1024 if 0 or
	// less. Further ones wait to be accepted. Each ends by itself within 2 s,
	// whatever its client does; with HTTP, within 30 s of its last request.
	MaxConns int

	// HTTP has the server speak HTTP instead: GET / is answered with the same line,
	// and GET /healthz with 200 while the server serves, and with 503 from when it
	// is told to stop, or its registration has ended. Only then are connections
	// not kept open for the next request. As clients of the one do not speak the
	// other, Service should be another name, such as go_servers_http.
	HTTP bool

	// Logger receives a line when the server listens, when it is announced, when it
	// stops, and for what it survives. slog.Default if nil.
	Logger *slog.Logger

	mu     sync.Mutex
	used   bool
	closed chan struct{} // made by init
	l      net.Listener
	conns  map[net.Conn]struct{}

	draining atomic.Bool
}

// Serve answers on l from the start, announces the server, and blocks. It
// takes over l, and has closed it when it returns; so has every goroutine that
// it started ended.
//
// When ctx ends, Serve withdraws the server, goes on answering for Drain, stops
// accepting, finishes what is open, and returns nil. A withdrawal that the
// registry does not confirm within 2 s is logged, and holds up nothing. All of
// that takes at most Drain and 4 s.
//
// Serve also stops, and returns why, when the registry refuses the server;
// when the registration ends, because a newer one took it over or the Registry
// was closed (it drains then, too); and when l fails for good. A listener that
// fails for a while, because the process has no descriptors left, is tried again.
// After [Server.Close] it returns ErrServerClosed.
//
// While the registry cannot be reached, Serve answers whoever connects and
// waits to be announced. A Server serves once: a second call is an error.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	addr, err := s.address(l.Addr())
	if err == nil {
		err = s.begin(l)
	}
	if err != nil {
		l.Close()
		return err
	}
	log := s.logger().With("service", s.Service, "instance", cmp.Or(s.ID, addr))

	// accepting ends with the accept loop: at the end of the drain, or sooner
	// if l has failed or Close was called.
	accepting, ended := context.WithCancelCause(context.WithoutCancel(ctx))
	a := s.acceptor(l, log)
	var wg sync.WaitGroup
	defer wg.Wait()
	if s.HTTP {
		web := s.web(addr, log)
		wg.Go(func() { ended(web.Serve(a)) })
		defer finish(web)
	} else {
		wg.Go(func() { ended(s.daytime(a, addr, &wg)) })
	}
	defer l.Close()
	log.Info("time server listening", "addr", l.Addr())

	why := s.announced(ctx, accepting, addr, log)
	select {
	case <-s.closed:
		return ErrServerClosed
	default:
		return why
	}
}

// announced keeps the server registered until ctx ends, or until there is
// something to return.
func (s *Server) announced(ctx, accepting context.Context, addr string, log *slog.Logger) error {
	registering, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(accepting, func() { cancel(context.Cause(accepting)) })()

	reg, err := s.Registry.Register(registering, registry.Instance{Service: s.Service, ID: s.ID, Addr: addr, Meta: s.Meta})
	switch {
	case err != nil && ctx.Err() != nil:
		log.Warn("time server stopped before it was announced", "err", err)
		return nil
	case err != nil:
		return fmt.Errorf("timesvc: %w", err)
	}
	log.Info("time server announced", "addr", addr, "ttl", reg.TTL())

	select {
	case <-ctx.Done():
		s.draining.Store(true)
		log.Info("time server stopping", "cause", context.Cause(ctx))
		s.withdraw(accepting, reg, log)
		s.linger(accepting)
		return nil
	case <-reg.Done():
		s.draining.Store(true)
		s.linger(accepting)
		return fmt.Errorf("timesvc: the registration has ended: %w", reg.Err())
	case <-accepting.Done():
		if !s.isClosed() {
			// Nobody can connect any more: others should not be sent here.
			s.withdraw(context.WithoutCancel(accepting), reg, log)
		}
		return context.Cause(accepting)
	}
}

func (s *Server) withdraw(ctx context.Context, reg registry.Registration, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, withdrawTimeout)
	defer cancel()
	if err := reg.Deregister(ctx); err != nil {
		log.Warn("withdrawal unconfirmed: clients try this server until its session ends", "err", err)
	}
}

// linger gives clients the time to hear of the withdrawal.
func (s *Server) linger(accepting context.Context) {
	t := time.NewTimer(cmp.Or(s.Drain, defaultDrain))
	defer t.Stop()
	select {
	case <-t.C:
	case <-accepting.Done():
	}
}

// Close ends the server at once, as a crash would: what is open is cut off, and
// the instance is not withdrawn. Its record goes when the Registry is closed or
// its session ends. Serve then returns ErrServerClosed; Close does not wait for
// that. It may be called at any time, from any goroutine, and more than once.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.init()
	select {
	case <-s.closed:
		return
	default:
	}
	close(s.closed)
	if s.l != nil {
		s.l.Close()
	}
	for c := range s.conns {
		c.Close()
	}
}

// init makes what the zero Server lacks. s.mu is held.
func (s *Server) init() {
	if s.closed == nil {
		s.closed = make(chan struct{})
		s.conns = map[net.Conn]struct{}{}
	}
}

func (s *Server) begin(l net.Listener) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.init()
	if s.used {
		return errors.New("timesvc: Serve was called before: a Server serves once")
	}
	s.used = true
	if s.isClosed() {
		return ErrServerClosed
	}
	s.l = l
	return nil
}

func (s *Server) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

func (s *Server) logger() *slog.Logger {
	if s.Logger == nil {
		return slog.Default()
	}
	return s.Logger
}

// address returns what to announce, as host:port with the port that is really
// listened on. Whether it is otherwise an address is for the registry to say.
func (s *Server) address(listening net.Addr) (string, error) {
	addr := cmp.Or(s.Advertise, listening.String())
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("timesvc: %w address %q to advertise: want host:port", registry.ErrInvalid, addr)
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.Unmap().IsUnspecified() {
		return "", fmt.Errorf("timesvc: %w address %q to advertise: it does not say where clients reach this server: "+
			"set Advertise (--advertise host:port) to what does", registry.ErrInvalid, addr)
	}
	if n, err := strconv.Atoi(port); err == nil && n == 0 {
		if _, port, err = net.SplitHostPort(listening.String()); err == nil {
			addr = net.JoinHostPort(host, port)
		}
	}
	return addr, nil
}
