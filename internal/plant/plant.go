// Package plant builds the code of this project with faults in it, for tests that show
// that other tests notice them. The sources stay as they are: go's -overlay puts edited
// files in their place.
package plant

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// An Edit makes one thing wrong: in a file, what is there once becomes something else. A
// file of the standard library begins with GOROOT.
type Edit [3]string

// Overlay writes the edited files of the module at root, and returns the path of the list
// of them that go wants.
func Overlay(t testing.TB, root string, edits []Edit) string {
	t.Helper()
	dir := t.TempDir()
	replace := map[string]string{}
	for i, e := range edits {
		name, old, now := e[0], e[1], e[2]
		path, err := filepath.Abs(filepath.Join(root, name))
		if file, ok := strings.CutPrefix(name, "GOROOT"); ok {
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
		if n := strings.Count(string(src), old); n != 1 {
			t.Fatalf("edit %d: %s has this %d times, want once:\n%s", i, name, n, old)
		}
		replace[path] = filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
		if err := os.WriteFile(replace[path], []byte(strings.Replace(string(src), old, now, 1)), 0o600); err != nil {
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

func goroot(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
