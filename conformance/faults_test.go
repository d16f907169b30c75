package conformance_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/go-rollcall/registry/conformance"
	"github.com/go-rollcall/registry/internal/plant"
	"github.com/go-rollcall/registry/internal/testserver"
)

func TestMain(m *testing.M) { os.Exit(testserver.Main(m)) }

// Where a fault is planted, and which test then runs the suite.
const (
	bubbles   = "./memreg TestInBubbles"
	realTime  = "./memreg TestInRealTime"
	zookeeper = "./zkreg TestConformance"
	etcd      = "./etcdreg TestConformance"
	consul    = "./consulreg TestConformance"
)

type edit = plant.Edit

// A fault is what goes wrong in a registry.
type fault struct {
	name   string
	in     string // which tests run on it
	caught string // by this case
	edits  []edit
}

// TestSuiteBites plants faults in the code, one at a time, and runs the case that
// is meant for it, which must fail. It builds with go's -overlay: the sources
// stay as they are.
func TestSuiteBites(t *testing.T) {
	builds := make(chan struct{}, runtime.GOMAXPROCS(0)) // whatever -parallel is
	runs := make(chan struct{}, 4*cap(builds))           // which mostly wait
	for _, f := range slices.Concat(faults, serverFaults) {
		pkg, test, _ := strings.Cut(f.in, " ")
		t.Run(strings.ReplaceAll(strings.TrimPrefix(pkg, "./")+" "+f.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			bin := filepath.Join(t.TempDir(), "faulty.test")
			build := exec.Command("go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-o="+bin, "-overlay="+plant.Overlay(t, "..", f.edits), pkg)
			build.Dir = ".."
			builds <- struct{}{}
			out, err := build.CombinedOutput()
			<-builds
			if err != nil {
				t.Fatalf("%s: the build failed: %v\n%s", f.name, err, out)
			}
			cmd := exec.Command(bin, "-test.timeout=90s", "-test.run=^"+test+"$/^"+f.caught+"$")
			cmd.Dir = filepath.Join("..", pkg)
			cmd.Env = append(os.Environ(), "REGISTRY_TEST_REQUIRE=zk,etcd,consul")
			if f.in == zookeeper {
				cmd.Env = append(cmd.Env, "REGISTRY_TEST_ZK="+testserver.SharedZooKeeper(t).Addr())
			}
			runs <- struct{}{}
			out, err = cmd.CombinedOutput()
			<-runs
			switch found := noticed(out, test, f.caught); {
			case err == nil:
				t.Errorf("%s: the case %s did not notice", f.name, f.caught)
			case found == "":
				t.Errorf("%s: the case %s did not fail, but something else did: %v\n%s", f.name, f.caught, err, out)
			default:
				t.Logf("caught: %s", found)
			}
		})
	}
}

// TestEveryCaseBites sees that there is a fault for each case.
func TestEveryCaseBites(t *testing.T) {
	for _, name := range conformance.Cases() {
		if !slices.ContainsFunc(slices.Concat(faults, serverFaults), func(f fault) bool { return f.caught == name }) {
			t.Errorf("no fault is planted that the case %s is to notice", name)
		}
	}
}

// noticed returns what the case said that failed in a test: which promise is broken, and
// not only which it was to check, as it says after any failure; or that it panicked. Where
// it hung, and a fault may make it, that it did.
func noticed(out []byte, test, name string) string {
	if regexp.MustCompile(`(?m)^\s+--- FAIL: ` + test + `/` + name + ` `).Match(out) {
		for _, said := range regexp.MustCompile(`(?m)^\s+(\w+)\.go:\d+: (promise \d+: .*)$`).FindAllSubmatch(out, -1) {
			if string(said[1]) != "conformance" {
				return string(said[2])
			}
		}
		return string(regexp.MustCompile(`(?m)^panic: .*`).Find(out))
	}
	return string(regexp.MustCompile(`(?m)^\s*running tests:\n.*\n?.*` + test + `/` + name + ` .*`).Find(out))
}
