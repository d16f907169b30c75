package processes_test

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-rollcall/registry/internal/testserver"
)

// patience is more than any step takes that has no bound of its own.
const patience = 30 * time.Second

// A program is timesvc in a process of its own, and what it has written so far.
type program struct {
	*testserver.Process
	stdout, stderr testserver.Output
}

// build makes the program, with the race detector if this test has it, as the build
// of the test was made already for most of what it needs.
func build(t *testing.T) (path string) {
	path = filepath.Join(t.TempDir(), "timesvc")
	args := append([]string{"build", "-o", path}, raceFlags...)
	cmd := exec.CommandContext(t.Context(), "go", append(args, "github.com/go-rollcall/registry/timesvc/cmd/timesvc")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building timesvc: %v\n%s", err, out)
	}
	return path
}

// start starts the program, which ends with t.
func start(t *testing.T, path string, args ...string) *program {
	t.Helper()
	p := new(program)
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = &p.stdout, &p.stderr
	p.Process = testserver.Run(t, cmd)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s %s wrote:\n%s", filepath.Base(path), args[0], &p.stderr)
		}
	})
	return p
}

// ended waits until the program has ended by itself, without complaint.
func (p *program) ended(t *testing.T) {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case <-p.Done():
	case <-limit.C:
		t.Fatalf("it was asked to end, and has not within %v:\n%s", patience, &p.stderr)
	}
	if !p.State().Success() {
		t.Errorf("it ended with %v:\n%s", p.State(), &p.stderr)
	}
}
