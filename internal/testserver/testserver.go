// Package testserver starts real registries for the tests, on free ports of
// 127.0.0.1 and in temporary directories.
//
// A test binary starts a server of a kind when a test first asks for it, and
// all its tests share that one: each works below a root of its own. TestMain
// ends it:
//
//	func TestMain(m *testing.M) { os.Exit(testserver.Main(m)) }
//
// A test that ends, pauses or starts again a server has one of its own: see [Own],
// [Node] and [Cluster].
//
// ZooKeeper comes from Debian's package. A binary of etcd or Consul on PATH is
// used, or else the one that `make servers` has built.
//
// Environment variables decide what happens:
//
//   - REGISTRY_TEST_ZK, REGISTRY_TEST_ETCD and REGISTRY_TEST_CONSUL are each the
//     host:port of a server that runs already, and win over starting one to
//     share. Tests that need one of their own start it all the same.
//   - REGISTRY_TEST_REQUIRE lists, separated by commas, the kinds (of "zk",
//     "etcd", "consul") that must be there: a test that lacks one then fails
//     where it would be skipped.
package testserver

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// ErrNotInstalled is wrapped by the error of a Start function when this machine
// lacks the server's program. Its text says what to install.
var ErrNotInstalled = errors.New("not installed")

// shared is the one server of a kind, or the one cluster, that the tests of this
// binary share.
type shared[S interface {
	fmt.Stringer
	Stop()
}] struct {
	kind    string                       // as REGISTRY_TEST_REQUIRE names it
	running func(addr string) (S, error) // one that somebody else runs; nil if that is of no use
	start   func() (S, error)

	mu      sync.Mutex
	started bool
	server  S
	err     error
}

// get returns the server, and starts it for the first caller.
func (s *shared[S]) get(t testing.TB) S {
	t.Helper()
	server, err := s.obtain()
	if err != nil {
		unavailable(t, s.kind, err)
	}
	t.Log(server)
	return server
}

func (s *shared[S]) obtain() (S, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started {
		return s.server, s.err
	}
	s.started = true
	address := addressVariable(s.kind)
	if addr := os.Getenv(address); addr == "" || s.running == nil {
		s.server, s.err = s.start()
	} else if s.server, s.err = s.running(addr); s.err != nil {
		s.err = fmt.Errorf("%s: %w", address, s.err)
	}
	return s.server, s.err
}

func (s *shared[S]) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started && s.err == nil {
		s.server.Stop()
	}
	s.started = false
}

// Main runs the tests of m, ends the servers that they shared, and returns the
// code to exit with.
func Main(m *testing.M) int {
	// Even if a test panics.
	defer sharedZooKeeper.stop()
	defer sharedEtcd.stop()
	defer sharedConsul.stop()
	defer sharedZooKeepers.stop()
	defer sharedEtcds.stop()
	defer sharedConsuls.stop()
	return m.Run()
}

// Own starts a server, or a cluster, that t has to itself, and stops it when t
// ends: tests that end or pause a server do not share it. The kind is as in
// REGISTRY_TEST_REQUIRE. If it is not installed, t is skipped, or fails if it is
// required and no server runs elsewhere.
func Own[S interface{ Stop() }](t testing.TB, kind string, start func() (S, error)) S {
	t.Helper()
	s, err := start()
	if err != nil {
		unavailable(t, kind, err)
	}
	t.Cleanup(s.Stop)
	return s
}

// unavailable ends a test that has no server because of err: what is not
// installed is skipped unless it is required, anything else is a failure.
func unavailable(t testing.TB, kind string, err error) {
	t.Helper()
	address := addressVariable(kind)
	required := os.Getenv(address) == "" && slices.Contains(strings.Split(os.Getenv("REGISTRY_TEST_REQUIRE"), ","), kind)
	switch {
	case !errors.Is(err, ErrNotInstalled):
		t.Fatalf("no %s to test with: %v", kind, err)
	case required:
		t.Fatalf("no %s to test with, and REGISTRY_TEST_REQUIRE asks for it: %v; or set %s to the address of one", kind, err, address)
	default:
		t.Skipf("SKIPPED %s: no %s to test with: %v; or set %s to the address of one", t.Name(), kind, err, address)
	}
}

// addressVariable names the environment variable with the address of a server
// that runs already.
func addressVariable(kind string) string { return "REGISTRY_TEST_" + strings.ToUpper(kind) }
