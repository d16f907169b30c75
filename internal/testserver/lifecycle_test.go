package testserver_test

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/go-rollcall/registry/internal/testserver"
)

func TestAServerIsEndedAndStartedAgain(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		begin := time.Now()
		s := testserver.Own(t, k.name, k.one)
		t.Logf("%s at %s started in %v", s.Version(), s.Addr(), time.Since(begin))
		k.mustPut(t, s, "first")

		s.Kill(t)
		mustBeDown(t, s)
		s.Kill(t) // again: no harm
		s.Start(t)
		k.mustHave(t, s, "first")
		s.Start(t) // again: no harm

		k.mustPut(t, s, "second")
		s.Terminate(t)
		mustBeDown(t, s)
		s.Start(t)
		k.mustHave(t, s, "second")

		s.Pause(t)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if got, err := k.get(ctx, s.Addr()); err == nil {
			t.Errorf("it answers %q while it is paused", got)
		}
		s.Continue(t)
		k.mustHave(t, s, "second")

		s.Pause(t)
		s.Stop() // also one that is paused
		mustBeDown(t, s)
		s.Stop() // again: no harm
	})
}

func TestAPortInUseIsWaitedFor(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		s := testserver.Own(t, k.name, k.one)
		k.mustPut(t, s, "value")
		s.Kill(t)
		squatter, err := net.Listen("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		released := make(chan struct{})
		go func() {
			defer close(released)
			for t.Context().Err() == nil && !strings.Contains(strings.ToLower(testserver.Log(s)), "address already in use") {
				time.Sleep(time.Millisecond)
			}
			squatter.Close()
		}()
		s.Start(t)
		<-released
		k.mustHave(t, s, "value")
	})
}

func TestAClusterOutlivesItsLeader(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		begin := time.Now()
		c := testserver.Own(t, k.name, k.cluster)
		t.Logf("%d members started in %v", len(c.members), time.Since(begin))
		first := c.leader(t)
		k.mustPut(t, first, "first")
		for _, s := range c.members {
			k.mustHave(t, s, "first")
		}

		first.Kill(t)
		second := c.leader(t)
		if second == first {
			t.Fatal("one that was killed leads")
		}
		k.mustPut(t, second, "second")
		first.Start(t)
		k.mustHave(t, first, "second")

		for _, s := range c.members {
			s.Kill(t)
		}
		c.start(t)
		k.mustHave(t, c.leader(t), "second")

		third := c.leader(t)
		third.Pause(t)
		if fourth := c.leader(t); fourth == third {
			t.Error("one that is paused leads")
		}
		third.Continue(t)
		k.mustHave(t, third, "second")
	})
}

// The test runs itself again, as a process that starts a server and is killed.
func TestServerDiesWithATestThatIsKilled(t *testing.T) {
	if os.Getenv("TESTSERVER_HOLD") != "" {
		z, err := testserver.StartZooKeeper()
		if err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("address " + z.Addr() + "\n")
		io.Copy(io.Discard, os.Stdin) // until it is killed, or is forgotten
		z.Stop()
		return
	}
	if testserver.SharedZooKeeper(t); os.Getenv("REGISTRY_TEST_ZK") != "" {
		t.Skip("it starts a server of its own, and REGISTRY_TEST_ZK says not to")
	}
	if !testserver.DiesWithParent {
		t.Skip("this system cannot do that")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "TESTSERVER_HOLD=1", "TMPDIR="+t.TempDir())
	if _, err := cmd.StdinPipe(); err != nil { // never written to
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 256)
	n, _ := out.Read(line)
	cmd.Process.Kill()
	cmd.Wait()
	addr, ok := strings.CutPrefix(strings.TrimSpace(string(line[:n])), "address ")
	if !ok {
		t.Fatalf("it printed %q", line[:n])
	}
	// The kernel ends the server, but nobody tells us when.
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		conn.Close()
		if time.Now().After(deadline) {
			t.Fatalf("the server at %s outlives the test that started it", addr)
		}
	}
}

func mustBeDown(t *testing.T, s testserver.Server) {
	t.Helper()
	if conn, err := net.Dial("tcp", s.Addr()); err == nil {
		conn.Close()
		t.Errorf("it serves after its end")
	}
}
