package conformance_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

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

// An edit makes one thing wrong: in file, old, which is there once, becomes new. A file
// of the standard library begins with GOROOT.
type edit struct{ file, old, new string }

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
	for _, f := range slices.Concat(faults, serverFaults) {
		pkg, test, _ := strings.Cut(f.in, " ")
		t.Run(strings.ReplaceAll(strings.TrimPrefix(pkg, "./")+" "+f.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			builds <- struct{}{}
			defer func() { <-builds }()
			args := []string{"test", "-count=1", "-vet=off", "-ldflags=-s -w", "-timeout=90s", "-overlay=" + overlay(t, f.edits)}
			args = append(args, "-run=^"+test+"$/^"+f.caught+"$", pkg)
			cmd := exec.Command("go", args...)
			cmd.Dir = ".."
			cmd.Env = append(os.Environ(), "REGISTRY_TEST_REQUIRE=zk,etcd,consul")
			if f.in == zookeeper {
				cmd.Env = append(cmd.Env, "REGISTRY_TEST_ZK="+testserver.SharedZooKeeper(t).Addr())
			}
			out, err := cmd.CombinedOutput()
			switch fails := regexp.MustCompile(`(?m)^\s+--- FAIL: ` + test + `/` + f.caught + ` |^\s*running tests:\n.*\n?.*` + test + `/` + f.caught + ` `); {
			case err == nil:
				t.Errorf("%s: the case %s did not notice", f.name, f.caught)
			case !fails.Match(out):
				t.Errorf("%s: the case %s did not fail, but something else did: %v\n%s", f.name, f.caught, err, out)
			default:
				t.Logf("caught: %s", regexp.MustCompile(`promise \d+: .*|panic: .*`).Find(out))
			}
		})
	}
}

// goroot is where the sources of the standard library are.
func goroot(t *testing.T) string {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// overlay writes the edited files, and the list of them that go wants.
func overlay(t *testing.T, edits []edit) string {
	dir := t.TempDir()
	replace := map[string]string{}
	for i, e := range edits {
		path, err := filepath.Abs(filepath.Join("..", e.file))
		if file, ok := strings.CutPrefix(e.file, "GOROOT"); ok {
			path = goroot(t) + file
		}
		if err != nil {
			t.Fatal(err)
		}
		from := path
		if replace[path] != "" {
			from = replace[path] // edited before
		}
		src, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(src), e.old); n != 1 {
			t.Fatalf("edit %d: %s has this %d times, want once:\n%s", i, e.file, n, e.old)
		}
		replace[path] = filepath.Join(dir, strings.ReplaceAll(e.file, "/", "_"))
		if err := os.WriteFile(replace[path], []byte(strings.Replace(string(src), e.old, e.new, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(name, list, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
