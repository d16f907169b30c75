package testserver

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	zkTick      = 200 * time.Millisecond // sessions are 2 to 20 of them: 400 ms to 4 s
	zkJar       = "/usr/share/java/zookeeper.jar"
	zkLogger    = "/usr/share/java/slf4j-simple.jar"
	zkInstall   = "install the Debian package zookeeper (apt-get install --no-install-recommends zookeeper)"
	zkStartTime = 30 * time.Second
)

// A ZooKeeper is a server of its own with an empty tree. It grants sessions of
// 400 ms to 4 s.
type ZooKeeper struct {
	addr    string
	version string
	dir     string
	proc    *process // nil if somebody else runs it

	mu    sync.Mutex
	admin *ZooKeeperAdmin
}

var sharedZooKeeper shared[*ZooKeeper]

// SharedZooKeeper returns the server that the tests of this binary share. If
// there is none, t is skipped, or fails if REGISTRY_TEST_REQUIRE lists "zk".
func SharedZooKeeper(t testing.TB) *ZooKeeper {
	t.Helper()
	z, err := sharedZooKeeper.get(func() (*ZooKeeper, error) {
		if addr := os.Getenv("REGISTRY_TEST_ZK"); addr != "" {
			return runningZooKeeper(addr)
		}
		return StartZooKeeper()
	})
	if err != nil {
		unavailable(t, "zk", "REGISTRY_TEST_ZK", err)
	}
	t.Logf("ZooKeeper %s at %s", z.version, z.addr)
	return z
}

// StartZooKeeper starts a server and returns when it serves. The caller stops
// it.
func StartZooKeeper() (*ZooKeeper, error) {
	java, err := exec.LookPath("java")
	if err == nil {
		_, err = os.Stat(zkJar)
	}
	if err != nil {
		return nil, fmt.Errorf("ZooKeeper is %w: %v: %s", ErrNotInstalled, err, zkInstall)
	}
	for range 5 {
		// A port that was free a moment ago may be taken by now.
		var z *ZooKeeper
		if z, err = startZooKeeper(java); !errors.Is(err, errPortTaken) {
			return z, err
		}
	}
	return nil, err
}

// runningZooKeeper is a server that somebody else runs.
func runningZooKeeper(addr string) (*ZooKeeper, error) {
	z := &ZooKeeper{addr: addr, version: "of unknown version"}
	srvr, err := z.ask("srvr", 5*time.Second)
	if err != nil {
		return nil, fmt.Errorf("REGISTRY_TEST_ZK: %w", err)
	}
	if v := zkVersion.FindStringSubmatch(srvr); v != nil { // it may not be allowed to say
		z.version = v[1]
	}
	return z, nil
}

// Addr is the server's host:port.
func (z *ZooKeeper) Addr() string { return z.addr }

// Version is what the server calls itself.
func (z *ZooKeeper) Version() string { return z.version }

// Stop ends the server without warning, removes what it stored, and returns
// when its process is gone. One that somebody else runs goes on.
func (z *ZooKeeper) Stop() {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.admin != nil {
		z.admin.conn.Close() // first: it asks the server, and waits for the answer
		z.admin = nil
	}
	if z.proc != nil {
		z.proc.kill()
		os.RemoveAll(z.dir)
	}
}

var errPortTaken = errors.New("the port was taken by another program")

func startZooKeeper(java string) (_ *ZooKeeper, err error) {
	dir, err := os.MkdirTemp("", "zookeeper-test-")
	if err != nil {
		return nil, err
	}
	z := &ZooKeeper{dir: dir}
	defer func() {
		if err != nil {
			z.Stop()
			os.RemoveAll(dir)
		}
	}()
	if z.addr, err = freeAddr(); err != nil {
		return nil, err
	}
	host, port, _ := net.SplitHostPort(z.addr)
	config := filepath.Join(dir, "zoo.cfg")
	err = os.WriteFile(config, fmt.Appendf(nil, `tickTime=%d
dataDir=%s
clientPortAddress=%s
clientPort=%s
admin.enableServer=false
4lw.commands.whitelist=*
maxClientCnxns=0
`, zkTick.Milliseconds(), filepath.Join(dir, "data"), host, port), 0o600)
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close() // the server has its own descriptor

	// The first compiler alone and one collector thread: measured to start and
	// to serve faster than the defaults on two cores, in less memory.
	cmd := exec.Command(java, "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dzookeeper.jmx.log4j.disable=true",
		"-cp", zkJar+string(os.PathListSeparator)+zkLogger,
		"org.apache.zookeeper.server.quorum.QuorumPeerMain", config)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	proc, err := startProcess(cmd)
	if err != nil {
		return nil, err
	}
	z.proc = proc
	return z, z.awaitReady()
}

var zkVersion = regexp.MustCompile(`Zookeeper version: ([0-9.]+)`)

// awaitReady returns when the server serves. It asks for "srvr" and not for
// "ruok", which is answered before a client can open a session.
func (z *ZooKeeper) awaitReady() error {
	deadline := time.Now().Add(zkStartTime)
	for {
		// What is asked too early may never be answered: ask again soon.
		srvr, err := z.ask("srvr", 200*time.Millisecond)
		if v := zkVersion.FindStringSubmatch(srvr); v != nil {
			z.version = v[1]
			break
		}
		ended := z.proc.ended()
		switch {
		case ended && strings.Contains(z.logTail(), "java.net.BindException"):
			return fmt.Errorf("ZooKeeper at %s: %w", z.addr, errPortTaken)
		case ended:
			return fmt.Errorf("ZooKeeper ended at once; its log ends:\n%s", z.logTail())
		case time.Now().After(deadline):
			return fmt.Errorf("ZooKeeper at %s does not serve after %v (%v); its log ends:\n%s", z.addr, zkStartTime, err, z.logTail())
		}
		time.Sleep(10 * time.Millisecond)
	}
	// Another ZooKeeper may have taken the port before this one did.
	if conf, err := z.ask("conf", 5*time.Second); err != nil {
		return err
	} else if !strings.Contains(conf, z.dir) {
		return fmt.Errorf("ZooKeeper at %s: %w", z.addr, errPortTaken)
	}
	return nil
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

// logTail returns the end of the server's log.
func (z *ZooKeeper) logTail() string {
	log, err := os.ReadFile(filepath.Join(z.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(log[max(0, len(log)-2000):])
}

// freeAddr returns an address of this machine on which nobody listens now.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
