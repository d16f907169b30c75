// Package testserver starts real registries for the tests, on free ports of
// 127.0.0.1 and in temporary directories.
//
// A test binary starts a server of a kind when a test first asks for it, and
// all its tests share that one: each works below a root of its own. TestMain
// ends it:
//
//	func TestMain(m *testing.M) { os.Exit(testserver.Main(m)) }
//
// Two environment variables decide what happens:
//
//   - REGISTRY_TEST_ZK is the host:port of a ZooKeeper that runs already, and
//     wins over starting one.
//   - REGISTRY_TEST_REQUIRE lists, separated by commas, the kinds ("zk") that
//     must be there: a test that lacks one then fails where it would be skipped.
package testserver

import (
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// ErrNotInstalled is wrapped by the error of a Start function when this machine
// lacks the server's program. Its text says what to install.
var ErrNotInstalled = errors.New("not installed")

// shared is the one server of a kind that the tests of this binary share.
type shared[S interface{ Stop() }] struct {
	mu      sync.Mutex
	started bool
	server  S
	err     error
}

// get returns the server, and calls start for the first caller.
func (s *shared[S]) get(start func() (S, error)) (S, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.started {
		s.server, s.err = start()
		s.started = true
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
	defer sharedZooKeeper.stop() // even if a test panics
	return m.Run()
}

// unavailable ends a test that has no server because of err: what is not
// installed is skipped unless it is required, anything else is a failure.
func unavailable(t testing.TB, kind, address string, err error) {
	t.Helper()
	required := slices.Contains(strings.Split(os.Getenv("REGISTRY_TEST_REQUIRE"), ","), kind)
	switch {
	case !errors.Is(err, ErrNotInstalled):
		t.Fatalf("no %s to test with: %v", kind, err)
	case required:
		t.Fatalf("no %s to test with, and REGISTRY_TEST_REQUIRE asks for it: %v; or set %s to the address of one", kind, err, address)
	default:
		t.Skipf("SKIPPED %s: no %s to test with: %v; or set %s to the address of one", t.Name(), kind, err, address)
	}
}
