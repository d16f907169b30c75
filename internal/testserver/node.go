package testserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	startTime     = time.Minute      // for a server to serve
	terminateTime = 20 * time.Second // for a server to end when it is asked to
	portTime      = 20 * time.Second // for a port to be free again
)

// A Node is one server: its process, its directory and its addresses. The last
// two stay the same when it has ended and is started again. Its methods are for
// one goroutine at a time; those that take a test end it if they fail, as they
// do on a server that somebody else runs.
type Node struct {
	kind    string // as it is called in errors
	name    string // its own, by which it is told from another on its port
	addr    string
	private []string // where it listens for the other members of a cluster
	pairs   bool     // each of these can be told another address of it
	peers   map[*Node][]string
	members []*Node // of its cluster, itself among them
	version string
	dir     string // "" if somebody else runs it
	server  Server

	mu   sync.Mutex
	proc *process // the last one
}

// A Server is a server of some kind: a [*ZooKeeper], an [*Etcd] or a [*Consul].
// What all can do is said at [Node], which they embed.
type Server interface {
	String() string
	Addr() string
	Version() string
	Stop()
	Kill(testing.TB)
	Terminate(testing.TB)
	Pause(testing.TB)
	Continue(testing.TB)
	Start(testing.TB)
	Log() ([]byte, error)

	node() *Node
	// command returns the command that runs it, and writes what that reads.
	command() (*exec.Cmd, error)
	// ready returns nil once this server, and not another one on its port,
	// serves all that clients ask for. It learns the version.
	ready(ctx context.Context) error
	// leads reports whether it leads its cluster.
	leads(ctx context.Context) (bool, error)
	// release closes connections to it.
	release()
}

func (n *Node) node() *Node { return n }

// String says what it is, and where.
func (n *Node) String() string { return fmt.Sprintf("%s %s at %s", n.kind, n.version, n.addr) }

// Addr is the server's host:port for clients.
func (n *Node) Addr() string { return n.addr }

// Version is what the server calls itself.
func (n *Node) Version() string { return n.version }

// Stop ends the server without warning, removes what it stored, and returns
// when its process is gone. One that somebody else runs goes on.
func (n *Node) Stop() {
	n.server.release() // first: it may ask the server
	if p := n.process(); p != nil {
		p.kill()
	}
	if n.dir != "" {
		os.RemoveAll(n.dir)
	}
}

// Kill ends the server without warning and keeps what it stored.
func (n *Node) Kill(t testing.TB) {
	t.Helper()
	n.own(t).kill()
}

// Terminate asks the server to end, as a deployment does, and returns when its
// process is gone. What it stored is kept.
func (n *Node) Terminate(t testing.TB) {
	t.Helper()
	p := n.own(t)
	if err := p.signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatalf("terminating %s at %s: %v", n.kind, n.addr, err)
	}
	select {
	case <-p.life.Done():
	case <-time.After(terminateTime):
		t.Fatalf("%s at %s was asked to end and has not within %v; its log ends:\n%s", n.kind, n.addr, terminateTime, n.logTail())
	}
}

// Pause holds the server's process where it is. Its connections stay, and
// nobody answers on them.
func (n *Node) Pause(t testing.TB) {
	t.Helper()
	if err := n.own(t).pause(); err != nil {
		t.Fatalf("pausing %s at %s: %v", n.kind, n.addr, err)
	}
}

// Continue undoes Pause.
func (n *Node) Continue(t testing.TB) {
	t.Helper()
	if err := n.own(t).resume(); err != nil {
		t.Fatalf("continuing %s at %s: %v", n.kind, n.addr, err)
	}
}

// Start starts a server that has ended again, with what it stored, at the same
// addresses, and returns when it serves. A member of a cluster serves only with
// a majority: where that is down, see [Cluster.Start].
func (n *Node) Start(t testing.TB) {
	t.Helper()
	n.own(t)
	if err := restart(n); err != nil {
		t.Fatal(err)
	}
}

// own returns the process, if it is ours.
func (n *Node) own(t testing.TB) *process {
	t.Helper()
	p := n.process()
	if p == nil {
		t.Fatalf("%s at %s is run by somebody else, who alone can end or pause it", n.kind, n.addr)
	}
	return p
}

// process returns the last process, nil if there was none.
func (n *Node) process() *process {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.proc
}

// peer returns where other reaches it: where it listens, or at relays there.
func (n *Node) peer(other *Node) []string {
	if addrs, ok := n.peers[other]; ok {
		return addrs
	}
	return n.private
}

// running returns the process if it has not ended.
func (n *Node) running() *process {
	if p := n.process(); p != nil && !p.ended() {
		return p
	}
	return nil
}

// restart starts those of the nodes that have ended, and returns when all
// serve. A port of theirs may be in use for a moment: then it tries again.
func restart(nodes ...*Node) error {
	deadline := time.Now().Add(portTime)
	for {
		err := start(nodes...)
		if !errors.Is(err, errPortTaken) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// start starts those of the nodes that do not run, and returns when all serve.
func start(nodes ...*Node) error {
	for _, n := range nodes {
		if n.running() != nil {
			continue
		}
		if err := n.run(); err != nil {
			return err
		}
	}
	for _, n := range nodes {
		if err := n.awaitReady(); err != nil {
			return err
		}
	}
	return nil
}

// run starts the process.
func (n *Node) run() error {
	cmd, err := n.server.command()
	if err != nil {
		return err
	}
	log, err := os.Create(n.file("log"))
	if err != nil {
		return err
	}
	defer log.Close() // the server has its own descriptor
	cmd.Dir, cmd.Stdout, cmd.Stderr = n.dir, log, log
	n.mu.Lock() // it may dial a relay before this returns
	defer n.mu.Unlock()
	p, err := startProcess(cmd)
	if err == nil {
		n.proc = p
	}
	return err
}

// awaitReady returns when the server serves.
func (n *Node) awaitReady() error {
	deadline, proc := time.Now().Add(startTime), n.process()
	for {
		ctx, cancel := context.WithTimeout(proc.life, 2*time.Second)
		err := n.server.ready(ctx)
		cancel()
		if err == nil {
			return nil
		}
		ended, late := proc.ended(), time.Now().After(deadline)
		switch {
		case (ended || late) && strings.Contains(strings.ToLower(n.logTail()), "address already in use"):
			return fmt.Errorf("%s at %s: %w", n.kind, n.addr, errPortTaken)
		case ended:
			return fmt.Errorf("%s ended at once; its log ends:\n%s", n.kind, n.logTail())
		case late:
			return fmt.Errorf("%s at %s does not serve after %v (%v); its log ends:\n%s", n.kind, n.addr, startTime, err, n.logTail())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// file returns the path of a file of the server's.
func (n *Node) file(name string) string { return filepath.Join(n.dir, name) }

// Log returns what the server has logged.
func (n *Node) Log() ([]byte, error) { return os.ReadFile(n.file("log")) }

// logTail returns the end of the server's log.
func (n *Node) logTail() string {
	log, err := n.Log()
	if err != nil {
		return err.Error()
	}
	return string(log[max(0, len(log)-2000):])
}
