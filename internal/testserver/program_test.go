package testserver_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/go-rollcall/registry/internal/testserver"
)

// programs are the servers that this project builds.
var programs = []struct {
	name, module string
	start        func() (testserver.Server, error)
	build        func(context.Context, io.Writer) error
}{
	{"etcd", "go.etcd.io/etcd/server/v3", one(testserver.StartEtcd), testserver.BuildEtcd},
	{"consul", "github.com/hashicorp/consul", one(testserver.StartConsul), testserver.BuildConsul},
}

// emptyMachine takes from the test what is on PATH and in the user's cache, and
// returns the folder that stands for both.
func emptyMachine(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"PATH", "HOME", "XDG_CACHE_HOME", "LocalAppData"} {
		t.Setenv(name, dir)
	}
	return dir
}

// script puts a shell script on the PATH of an empty machine.
func script(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsNotInstalledIsNamed(t *testing.T) {
	emptyMachine(t)
	for _, p := range programs {
		_, err := p.start()
		if !errors.Is(err, testserver.ErrNotInstalled) || !strings.Contains(err.Error(), p.name) || !strings.Contains(err.Error(), "make servers") {
			t.Errorf("%s: %v", p.name, err)
		}
	}
	if _, err := testserver.StartZooKeeper(); !errors.Is(err, testserver.ErrNotInstalled) {
		t.Errorf("ZooKeeper: %v", err)
	}
}

func TestBuildMakesWhatIsMissing(t *testing.T) {
	dir := emptyMachine(t)
	// go build -o FILE PACKAGE, without its two CPU minutes.
	script(t, dir, "go", `while [ "$1" != -o ]; do shift; done; echo '#!/bin/sh' > "$2"; echo "package $3"`)
	for _, p := range programs {
		var log strings.Builder
		if err := p.build(t.Context(), &log); err != nil {
			t.Fatalf("%s: %v", p.name, err)
		}
		if !strings.Contains(log.String(), "Building "+p.name) || !strings.Contains(log.String(), "package "+p.module) {
			t.Errorf("%s: it says %q", p.name, log.String())
		}
		log.Reset()
		if err := p.build(t.Context(), &log); err != nil || log.String() != "" {
			t.Errorf("%s, again: %v, and it says %q", p.name, err, log.String())
		}
	}
	left := inCache(t)
	if len(left) != 2 || !regexp.MustCompile(`^consul-\d+\.\d+\.\d+ etcd-\d+\.\d+\.\d+$`).MatchString(strings.Join(left, " ")) {
		t.Errorf("in the cache: %q", left)
	}
}

func TestBuildThatFailsLeavesNothing(t *testing.T) {
	dir := emptyMachine(t)
	script(t, dir, "go", `while [ "$1" != -o ]; do shift; done; echo half > "$2"; echo 'no such module'; exit 1`)
	for _, p := range programs {
		var log strings.Builder
		if err := p.build(t.Context(), &log); err == nil || !strings.Contains(log.String(), "no such module") {
			t.Errorf("%s: %v, and it says %q", p.name, err, log.String())
		}
	}
	if left := inCache(t); len(left) > 0 {
		t.Errorf("in the cache: %q", left)
	}
}

func TestProgramOnPathWins(t *testing.T) {
	dir := emptyMachine(t)
	for _, p := range programs {
		script(t, dir, p.name, "echo it ran; exit 1")
		if err := p.build(t.Context(), io.Discard); err != nil {
			t.Errorf("%s: %v", p.name, err)
		}
		if _, err := p.start(); err == nil || !strings.Contains(err.Error(), "it ran") {
			t.Errorf("%s: %v", p.name, err)
		}
	}
}

// inCache lists this project's folder in the user's cache.
func inCache(t *testing.T) (names []string) {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(filepath.Join(cache, "go-rollcall-registry"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		names = append(names, f.Name())
	}
	return names
}
