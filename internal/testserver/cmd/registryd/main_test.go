package main

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/go-rollcall/registry/internal/testserver"
)

// TestMain lets the test binary be the program, for the signals.
func TestMain(m *testing.M) {
	if os.Getenv("REGISTRYD_BE_THE_PROGRAM") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestServesUntilASignal(t *testing.T) {
	for _, test := range []struct {
		kind    string // as in REGISTRY_TEST_REQUIRE
		args    []string
		prefix  string
		servers int
		start   func() (server, error) // what says whether it is installed
	}{
		{"zk", []string{"zookeeper"}, "zk://", 1, kinds[0].one},
		{"etcd", []string{"etcd", "--cluster"}, "etcd://", 3, kinds[1].one},
		{"consul", []string{"consul"}, "consul://", 1, kinds[2].one},
	} {
		t.Run(test.kind, func(t *testing.T) {
			t.Parallel()
			testserver.Own(t, test.kind, test.start)
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			temp := t.TempDir()
			cmd := exec.Command(exe, test.args...)
			cmd.Env = append(os.Environ(), "REGISTRYD_BE_THE_PROGRAM=1", "TMPDIR="+temp)
			var stderr strings.Builder
			cmd.Stderr = &stderr
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line, _ := bufio.NewReader(stdout).ReadString('\n')
			addrs, ok := strings.CutPrefix(strings.TrimSpace(line), test.prefix)
			if !ok {
				cmd.Process.Kill()
				cmd.Wait()
				t.Fatalf("it printed %q, want a URL with %s; %s", line, test.prefix, stderr.String())
			}
			all := strings.Split(addrs, ",")
			if len(all) != test.servers {
				t.Errorf("%d addresses in %q, want %d", len(all), line, test.servers)
			}
			for _, addr := range all {
				if conn, err := net.Dial("tcp", addr); err != nil {
					t.Errorf("before the signal: %v", err)
				} else {
					conn.Close()
				}
			}

			cmd.Process.Signal(syscall.SIGTERM)
			if err := cmd.Wait(); err != nil {
				t.Errorf("%v, want status 0; %s", err, stderr.String())
			}
			for _, addr := range all {
				if conn, err := net.Dial("tcp", addr); err == nil {
					conn.Close()
					t.Errorf("%s serves after the end", addr)
				}
			}
			if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
				t.Errorf("left in the temporary folder: %v, %v", left, err)
			}
		})
	}
}

func TestSaysWhatItWants(t *testing.T) {
	for _, args := range [][]string{{}, {"redis"}, {"etcd", "now"}, {"etcd", "--size=3"}} {
		cmd := root()
		cmd.SetArgs(args)
		if err := cmd.ExecuteContext(t.Context()); err == nil {
			t.Errorf("registryd %q: no error", args)
		}
	}
}
