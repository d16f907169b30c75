package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/go-rollcall/registry/internal/testserver"
)

// TestMain lets the test binary be the program, for the signals.
func TestMain(m *testing.M) {
	if os.Getenv("TIMESVC_BE_THE_PROGRAM") != "" {
		main()
		return
	}
	os.Unsetenv(envRegistry)
	os.Exit(m.Run())
}

// startServe starts serve in a process of its own, and returns it when it is
// announced.
func startServe(t *testing.T, drain string) (cmd *exec.Cmd, logs *testserver.Output, addr string) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	logs = new(testserver.Output)
	cmd = exec.Command(exe, "serve", "--registry", "mem:", "--listen", "127.0.0.1:0", "--drain", drain)
	cmd.Env = append(os.Environ(), "TIMESVC_BE_THE_PROGRAM=1")
	cmd.Stderr = logs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd, logs, logs.Await(t, `announced" .*instance=(\S+)`)[1]
}

func TestFirstSignalDrains(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		t.Run(fmt.Sprint(sig), func(t *testing.T) {
			cmd, _, _ := startServe(t, "0s")
			cmd.Process.Signal(sig)
			if err := cmd.Wait(); err != nil {
				t.Errorf("%v, want status 0", err)
			}
		})
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	cmd, logs, addr := startServe(t, "1h")
	cmd.Process.Signal(syscall.SIGTERM)
	logs.Await(t, "stopping.*terminated")
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatalf("draining: %v", err)
	}
	defer c.Close()
	if b, err := io.ReadAll(c); err != nil || len(b) == 0 {
		t.Errorf("draining: answer %q, error %v", b, err)
	}
	cmd.Process.Signal(syscall.SIGTERM)
	cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != 128+int(syscall.SIGTERM) {
		t.Errorf("status %d, want %d", got, 128+int(syscall.SIGTERM))
	}
}
