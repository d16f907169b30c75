package testserver

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

// A Consul is a server of its own without keys. It grants sessions of 500 ms and
// more, which it ends by twice that.
type Consul struct {
	*Node
	client *api.Client // as somebody who may do everything
	token  string      // of that one; "" where no rights are asked for

	mu      sync.Mutex
	session string // the admin's
}

var sharedConsul = shared[*Consul]{kind: "consul", running: runningConsul, start: startAuthConsul}

// SharedConsul returns the server that the tests of this binary share. It asks
// for tokens, which [ConsulAdmin.Token] hands out. If there is none, t is
// skipped, or fails if REGISTRY_TEST_REQUIRE lists "consul".
func SharedConsul(t testing.TB) *Consul {
	t.Helper()
	return sharedConsul.get(t)
}

var sharedConsuls = shared[*Cluster[*Consul]]{kind: "consul", start: StartConsulCluster}

// SharedConsulCluster returns the cluster of three that the tests of this binary share,
// one after the other, to fail its members: see [Cluster.Suite]. If there is none, t is
// skipped, or fails if REGISTRY_TEST_REQUIRE lists "consul".
func SharedConsulCluster(t testing.TB) *Cluster[*Consul] {
	t.Helper()
	return sharedConsuls.get(t)
}

// StartConsul starts a server that asks for no tokens, and returns when it
// serves. The caller stops it.
func StartConsul() (*Consul, error) { return startOne("Consul", 2, newConsul) }

// StartConsulCluster starts three servers that are one registry and ask for no
// tokens, and returns when all serve. The caller stops it.
func StartConsulCluster() (*Cluster[*Consul], error) {
	return startCluster("Consul", 3, 2, newConsul)
}

// startAuthConsul starts a server that asks for tokens.
func startAuthConsul() (*Consul, error) {
	token, err := newUUID()
	if err != nil {
		return nil, err
	}
	return startOne("Consul", 2, func(n *Node) *Consul { return consulWithToken(n, token) })
}

func newConsul(n *Node) *Consul { return consulWithToken(n, "") }

func consulWithToken(n *Node, token string) *Consul {
	client, err := api.NewClient(&api.Config{Address: n.addr, Scheme: "http", Token: token})
	if err != nil {
		panic("testserver: Consul's client does not take its options: " + err.Error())
	}
	return &Consul{Node: n, client: client, token: token}
}

// runningConsul is a server that somebody else runs.
func runningConsul(addr string) (*Consul, error) {
	c := newConsul(&Node{kind: "Consul", addr: addr})
	c.Node.server = c
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return c, c.ready(ctx)
}

func (c *Consul) command() (*exec.Cmd, error) {
	consul, err := consulProgram.path()
	if err != nil {
		return nil, err
	}
	type object = map[string]any
	var others []string
	for _, m := range c.members {
		if m != c.Node {
			others = append(others, m.peer(c.Node)[1])
		}
	}
	host, _, _ := net.SplitHostPort(c.peer(c.Node)[0])
	config := object{
		"server": true, "bootstrap_expect": len(c.members), "retry_join": others, "retry_interval": "100ms",
		"node_name": c.name, "data_dir": c.file("data"), "bind_addr": "127.0.0.1", "client_addr": "127.0.0.1", "advertise_addr": host,
		"ports": object{
			"http": port(c.addr), "server": port(c.private[0]), "serf_lan": port(c.private[1]),
			"serf_wan": -1, "dns": -1, "grpc": -1, "grpc_tls": -1,
		},
		"session_ttl_min": "500ms",
		"performance":     object{"raft_multiplier": 1},
		// All tests come from one address: no limit to its connections.
		"limits": object{"http_max_conns_per_client": 0, "rpc_max_conns_per_client": 0},
		// A member that was killed stays one, so that it is one at once when it
		// is started again.
		"autopilot": object{"cleanup_dead_servers": false},
		// What no test asks for and a start would wait for.
		"connect": object{"enabled": false}, "peering": object{"enabled": false},
		"disable_update_check": true, "disable_coordinates": true,
		"log_level": "warn",
	}
	if c.token != "" {
		config["acl"] = object{
			"enabled": true, "default_policy": "deny",
			"tokens": object{"initial_management": c.token, "agent": c.token},
		}
	}
	b, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(c.file("config.json"), b, 0o600); err != nil {
		return nil, err
	}
	return exec.Command(consul, "agent", "-config-file="+c.file("config.json")), nil
}

// ready opens a session, for which there must be a leader, and this server's
// node must be registered; and reads a key from the leader, which it answers
// when it has taken over all that it leads.
func (c *Consul) ready(ctx context.Context) error {
	var self struct {
		Config struct{ NodeName, Version string }
	}
	query := (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx)
	if _, err := c.client.Raw().Query("/v1/agent/self", &self, query); err != nil {
		return err
	}
	if c.dir != "" && self.Config.NodeName != c.name {
		return errors.New("another Consul answers")
	}
	id, _, err := c.client.Session().CreateNoChecks(&api.SessionEntry{TTL: "10s"}, writeOptions(ctx))
	if err != nil {
		return err
	}
	if _, err := c.client.Session().Destroy(id, writeOptions(ctx)); err != nil {
		return err
	}
	if _, _, err := c.client.KV().Get("ready", query); err != nil {
		return err
	}
	c.version = self.Config.Version
	return nil
}

func (c *Consul) leads(ctx context.Context) (bool, error) {
	leader, err := c.client.Status().LeaderWithQueryOptions((&api.QueryOptions{}).WithContext(ctx))
	return err == nil && len(c.private) > 0 && leader == c.peer(c.Node)[0], err
}

func (c *Consul) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session != "" && c.process() == nil { // ours goes, with all that it holds
		c.client.Session().Destroy(c.session, nil)
	}
}

func newUUID() (string, error) {
	b := make([]byte, 16)
	_, err := rand.Read(b)
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]), err
}
