package testserver

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// An Etcd is a server of its own without keys. The lowest TTL that it grants is
// 2 s: one and a half election timeouts, in seconds.
type Etcd struct {
	*Node
	client *clientv3.Client // as somebody who may do everything
	auth   bool
	hasty  bool // it does not wait for the disk: nothing is to outlive it
}

var sharedEtcd = shared[*Etcd]{kind: "etcd", running: runningEtcd, start: startAuthEtcd}

// SharedEtcd returns the server that the tests of this binary share. It asks for
// credentials, which [EtcdAdmin.User] hands out. If there is none, t is skipped,
// or fails if REGISTRY_TEST_REQUIRE lists "etcd".
func SharedEtcd(t testing.TB) *Etcd {
	t.Helper()
	return sharedEtcd.get(t)
}

var sharedEtcds = shared[*Cluster[*Etcd]]{kind: "etcd", start: StartEtcdCluster}

// SharedEtcdCluster returns the cluster of three that the tests of this binary share,
// one after the other, to fail its members: see [Cluster.Suite]. If there is none, t is
// skipped, or fails if REGISTRY_TEST_REQUIRE lists "etcd".
func SharedEtcdCluster(t testing.TB) *Cluster[*Etcd] {
	t.Helper()
	return sharedEtcds.get(t)
}

// StartEtcd starts a server that asks for no credentials, and returns when it
// serves. The caller stops it.
func StartEtcd() (*Etcd, error) { return startOne("etcd", 1, newEtcd) }

// StartEtcdCluster starts three servers that are one registry and ask for no
// credentials, and returns when all serve. The caller stops it.
func StartEtcdCluster() (*Cluster[*Etcd], error) { return startCluster("etcd", 3, 1, newEtcd) }

// startAuthEtcd starts a server that asks for credentials. It does not wait for the
// disk: where credentials are asked for, each connection is a login, each login is
// written, and on a disk that stalls for a second the shortest leases run out.
func startAuthEtcd() (*Etcd, error) {
	e, err := startOne("etcd", 1, func(n *Node) *Etcd {
		e := newEtcd(n)
		e.hasty = true
		return e
	})
	if err != nil {
		return nil, err
	}
	if err := e.enableAuth(); err != nil {
		e.Stop()
		return nil, fmt.Errorf("etcd: asking for credentials from now on: %w", err)
	}
	return e, nil
}

func newEtcd(n *Node) *Etcd { return &Etcd{Node: n, client: etcdClient(n.addr, "", "")} }

// runningEtcd is a server that somebody else runs.
func runningEtcd(addr string) (*Etcd, error) {
	e := newEtcd(&Node{kind: "etcd", addr: addr})
	e.Node.server = e
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := e.ready(ctx); err != nil {
		e.release()
		return nil, fmt.Errorf("etcd at %s: %w", addr, err)
	}
	return e, nil
}

func (e *Etcd) command() (*exec.Cmd, error) {
	etcd, err := etcdProgram.path()
	if err != nil {
		return nil, err
	}
	var cluster []string
	for _, m := range e.members {
		cluster = append(cluster, m.name+"=http://"+m.peer(e.Node)[0])
	}
	own := "http://" + e.addr
	return exec.Command(etcd, "--name="+e.name, "--data-dir="+e.file("data"),
		"--listen-client-urls="+own, "--advertise-client-urls="+own,
		"--listen-peer-urls=http://"+e.private[0], "--initial-advertise-peer-urls=http://"+e.peer(e.Node)[0],
		"--initial-cluster="+strings.Join(cluster, ","), "--initial-cluster-token="+e.members[0].name,
		"--bcrypt-cost=4", // the least: its passwords are no secrets
		fmt.Sprintf("--unsafe-no-fsync=%t", e.hasty),
		"--log-level=warn"), nil
}

// ready asks for the members, which the server answers when it is in step with
// its cluster, as for a linearizable read.
func (e *Etcd) ready(ctx context.Context) error {
	list, err := e.client.MemberList(ctx)
	if err != nil {
		return err
	}
	for _, m := range list.Members {
		if e.dir != "" && m.ID == list.Header.MemberId && m.Name != e.name {
			return errors.New("another etcd answers")
		}
	}
	if _, err := e.client.Get(ctx, "/"); err != nil {
		return err
	}
	status, err := e.client.Status(ctx, e.addr)
	if err == nil {
		e.version = status.Version
	}
	return err
}

func (e *Etcd) leads(ctx context.Context) (bool, error) {
	status, err := e.client.Status(ctx, e.addr)
	return err == nil && status.Leader == status.Header.MemberId, err
}

func (e *Etcd) release() { e.client.Close() }

// enableAuth has the server ask for credentials.
func (e *Etcd) enableAuth() error {
	const root, password = "root", "root"
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	if _, err := e.client.UserAdd(ctx, root, password); err != nil {
		return err
	}
	if _, err := e.client.UserGrantRole(ctx, root, root); err != nil {
		return err
	}
	if _, err := e.client.AuthEnable(ctx); err != nil {
		return err
	}
	e.client.Close()
	e.client, e.auth = etcdClient(e.addr, root, password), true
	return e.ready(ctx)
}

// etcdClient returns a client that connects when it is first asked, and soon
// again where that failed: a server that starts is waited for.
func etcdClient(addr, user, password string) *clientv3.Client {
	pace := backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1.6, MaxDelay: 100 * time.Millisecond}
	c, err := clientv3.New(clientv3.Config{
		Endpoints: []string{addr}, Username: user, Password: password, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{Backoff: pace, MinConnectTimeout: time.Second})},
	})
	if err != nil {
		panic("testserver: etcd's client does not take its options: " + err.Error())
	}
	return c
}
