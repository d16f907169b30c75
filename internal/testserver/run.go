package testserver

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// A Process is a program that a test runs. Methods that take a test end it if they
// fail.
type Process struct{ p *process }

// Run starts cmd. The process is gone when t has ended, and, where the system can
// do that, when the test binary was killed.
func Run(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	p, err := startProcess(cmd)
	if err != nil {
		t.Fatalf("starting %s: %v", cmd.Path, err)
	}
	t.Cleanup(p.kill)
	return &Process{p}
}

// Kill ends the process without warning, and returns when it is gone.
func (r *Process) Kill() { r.p.kill() }

// Terminate asks the process to end. See Done.
func (r *Process) Terminate(t testing.TB) {
	t.Helper()
	if err := r.p.signal(syscall.SIGTERM); err != nil {
		t.Fatalf("asking %s to end: %v", r.p.cmd.Path, err)
	}
}

// Pause holds the process where it is, and returns when it stands still. Its
// connections stay.
func (r *Process) Pause(t testing.TB) {
	t.Helper()
	if err := r.p.pause(); err != nil {
		t.Fatalf("pausing %s: %v", r.p.cmd.Path, err)
	}
}

// Continue undoes Pause.
func (r *Process) Continue(t testing.TB) {
	t.Helper()
	if err := r.p.resume(); err != nil {
		t.Fatalf("continuing %s: %v", r.p.cmd.Path, err)
	}
}

// Done is closed when the process is gone.
func (r *Process) Done() <-chan struct{} { return r.p.life.Done() }

// State says how the process ended, once Done is closed.
func (r *Process) State() *os.ProcessState { return r.p.cmd.ProcessState }
