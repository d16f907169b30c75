package testserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	zkTick    = 200 * time.Millisecond // sessions are 2 to 20 of them: 400 ms to 4 s
	zkJar     = "/usr/share/java/zookeeper.jar"
	zkLogger  = "/usr/share/java/slf4j-simple.jar"
	zkInstall = "install the Debian package zookeeper (apt-get install --no-install-recommends zookeeper)"
)

// A ZooKeeper is a server of its own with an empty tree. It grants sessions of
// 400 ms to 4 s.
type ZooKeeper struct {
	*Node

	mu    sync.Mutex
	admin *ZooKeeperAdmin
}

var sharedZooKeeper = shared[*ZooKeeper]{kind: "zk", running: runningZooKeeper, start: StartZooKeeper}

// SharedZooKeeper returns the server that the tests of this binary share. If
// there is none, t is skipped, or fails if REGISTRY_TEST_REQUIRE lists "zk".
func SharedZooKeeper(t testing.TB) *ZooKeeper {
	t.Helper()
	return sharedZooKeeper.get(t)
}

var sharedZooKeepers = shared[*Cluster[*ZooKeeper]]{kind: "zk", start: StartZooKeeperCluster}

// SharedZooKeeperCluster returns the cluster of three that the tests of this binary share,
// one after the other, to fail its members: see [Cluster.Suite]. If there is none, t is
// skipped, or fails if REGISTRY_TEST_REQUIRE lists "zk".
func SharedZooKeeperCluster(t testing.TB) *Cluster[*ZooKeeper] {
	t.Helper()
	return sharedZooKeepers.get(t)
}

// StartZooKeeper starts a server and returns when it serves. The caller stops
// it.
func StartZooKeeper() (*ZooKeeper, error) {
	return startOne("ZooKeeper", 0, newZooKeeper)
}

// StartZooKeeperCluster starts three servers that are one registry, and returns
// when all serve. The caller stops it.
func StartZooKeeperCluster() (*Cluster[*ZooKeeper], error) {
	return startCluster("ZooKeeper", 3, 2, newZooKeeper)
}

func newZooKeeper(n *Node) *ZooKeeper {
	n.pairs = true
	return &ZooKeeper{Node: n}
}

// runningZooKeeper is a server that somebody else runs.
func runningZooKeeper(addr string) (*ZooKeeper, error) {
	z := newZooKeeper(&Node{kind: "ZooKeeper", addr: addr, version: "of unknown version"})
	z.Node.server = z
	srvr, err := z.ask("srvr", 5*time.Second)
	if err != nil {
		return nil, err
	}
	if v := zkVersion.FindStringSubmatch(srvr); v != nil { // it may not be allowed to say
		z.version = v[1]
	}
	return z, nil
}

func (z *ZooKeeper) release() {
	z.mu.Lock()
	admin := z.admin
	z.admin = nil
	z.mu.Unlock()
	if admin != nil {
		admin.conn.Close() // it asks the server, and waits for the answer
	}
}

func (z *ZooKeeper) command() (*exec.Cmd, error) {
	java, err := exec.LookPath("java")
	if err == nil {
		_, err = os.Stat(zkJar)
	}
	if err != nil {
		return nil, fmt.Errorf("ZooKeeper is %w: %v: %s", ErrNotInstalled, err, zkInstall)
	}
	host, _, _ := net.SplitHostPort(z.addr)
	data := z.file("data")
	config := fmt.Appendf(nil, `tickTime=%d
dataDir=%s
clientPortAddress=%s
clientPort=%d
admin.enableServer=false
4lw.commands.whitelist=*
maxClientCnxns=0
`, zkTick.Milliseconds(), data, host, port(z.addr))
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, err
	}
	if len(z.members) > 1 {
		// In ticks: to come to follow a leader, and to have its newest.
		config = fmt.Appendf(config, "initLimit=50\nsyncLimit=10\n")
		for i, m := range z.members {
			at := m.peer(z.Node)
			config = fmt.Appendf(config, "server.%d=%s:%d\n", i+1, at[0], port(at[1]))
		}
		id := fmt.Append(nil, 1+slices.Index(z.members, z.Node))
		if err := os.WriteFile(filepath.Join(data, "myid"), id, 0o600); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(z.file("zoo.cfg"), config, 0o600); err != nil {
		return nil, err
	}
	// The first compiler alone and one collector thread: measured to start and
	// to serve faster than the defaults on two cores, in less memory.
	return exec.Command(java, "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		// One that was alone for long looks for the others as often as at first.
		"-Dzookeeper.fastleader.maxNotificationInterval=1000",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dzookeeper.jmx.log4j.disable=true",
		"-cp", zkJar+string(os.PathListSeparator)+zkLogger,
		"org.apache.zookeeper.server.quorum.QuorumPeerMain", z.file("zoo.cfg")), nil
}

var zkVersion = regexp.MustCompile(`Zookeeper version: ([0-9.]+)`)

// ready asks for "srvr" and not for "ruok", which is answered before a client
// can open a session.
func (z *ZooKeeper) ready(context.Context) error {
	// What is asked too early may never be answered: ask again soon.
	srvr, err := z.ask("srvr", 200*time.Millisecond)
	if err != nil {
		return err
	}
	v := zkVersion.FindStringSubmatch(srvr)
	if v == nil {
		return fmt.Errorf("it answers %q", srvr)
	}
	if conf, err := z.ask("conf", 200*time.Millisecond); err != nil {
		return err
	} else if !strings.Contains(conf, z.dir) {
		return errors.New("another ZooKeeper answers")
	}
	z.version = v[1]
	return nil
}

func (z *ZooKeeper) leads(context.Context) (bool, error) {
	srvr, err := z.ask("srvr", 500*time.Millisecond)
	return strings.Contains(srvr, "Mode: leader"), err
}

// ask sends one of the server's four-letter commands and returns the answer.
func (z *ZooKeeper) ask(command string, timeout time.Duration) (string, error) {
	conn, err := net.DialTimeout("tcp", z.addr, timeout)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(timeout))
	if _, err := io.WriteString(conn, command); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	return string(answer), err
}
