package conformance_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/go-rollcall/registry/internal/plant"
)

// jump has the wall clock of a program leap by an hour, forth and back each second or
// so, while its monotonic clock is right; in bubbles too, where times have no reading
// of that one else.
var jump = edit{
	"GOROOT/src/time/time.go",
	"	sec, nsec, mono := runtimeNow()\n	if mono == 0 {\n		return Time{uint64(nsec), sec + unixToInternal, Local}\n	}\n",
	"	sec, nsec, mono := runtimeNow()\n	if mono == 0 {\n		mono = runtimeNano()\n	}\n	sec += 3600 * (mono >> 30 & 1)\n",
}

// TestWallClockJumps runs the suite in a program whose wall clock is not to be trusted
// (promise 23). That deadlines by the wall clock are noticed there shows in
// TestSuiteBites.
func TestWallClockJumps(t *testing.T) {
	list := plant.Overlay(t, "..", []edit{jump})
	for _, run := range []string{
		"^TestInBubbles$",
		"^TestInRealTime$/^(short-break|dead-owner|frozen-owner|owner-learns-that-it-is-cut-off|one-lost-renewal|long-outage|outage|half-open|deregister-in-outage|close-in-outage|server-dies)$",
	} {
		cmd := exec.Command("go", "test", "-count=1", "-vet=off", "-timeout=90s", "-overlay="+list, "-run="+run, "./memreg")
		cmd.Dir = ".."
		cmd.Env = os.Environ()
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", run, err, out)
		}
	}
}
