//go:build bites

package chaos

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-rollcall/registry/internal/plant"
)

// planted are faults that the run must find, each on a backend.
var planted = []struct {
	name, backend string
	edits         []plant.Edit
}{
	{"what was withdrawn is written again with the next session", "etcd", []plant.Edit{
		{"entry.go", "		if r == nil && e.want == nil && gen == e.gen { // else somebody waits for a newer withdrawal\n			delete(k.entries, e.key)\n		}\n", ""},
		{"entry.go", "	want    *registration // nil: withdrawn\n", "	want    *registration // nil: withdrawn\n	was     *registration\n"},
		{"registration.go", "		e.want, e.held = nil, false\n", "		e.want, e.was, e.held = nil, r, false\n"},
		{"session.go", "		e.pause.reset()\n", "		e.pause.reset()\n		if e.want == nil {\n			e.want = e.was\n		}\n"},
	}},
	{"a watch that goes on after a break without listing anew", "etcd", []plant.Edit{
		{"etcdreg/watch.go", "	\"strings\"\n	\"time\"\n", "	\"strings\"\n	\"sync\"\n	\"time\"\n"},
		{"etcdreg/watch.go", "// Watch lists the records", "var listed sync.Map\n\n// Watch lists the records"},
		{"etcdreg/watch.go", "	sink.Reset(b.records(service, resp.Kvs), version(resp.Header.Revision))\n",
			"	if _, again := listed.LoadOrStore([2]any{b, service}, true); !again {\n		sink.Reset(b.records(service, resp.Kvs), version(resp.Header.Revision))\n	}\n"},
	}},
	{"a takeover that deletes and then creates", "zk", []plant.Edit{
		{"zkreg/write.go", "		if p.create {\n			ops = append(ops,", "		if p.create && p.take {\n			if _, err := s.c.zk.Multi(ops...); err != nil {\n				return err\n			}\n			ops = nil\n		}\n		if p.create {\n			ops = append(ops,"},
		{"zkreg/write.go", "		known.version = res[i].Stat.Version\n", "		known = parent{}\n		_ = i\n"},
		{"zkreg/write.go", "			p.at.version = res[i].Stat.Version\n", "			p.at = parent{}\n			_, _ = i, res\n"},
	}},
}

// TestChaosBites plants faults in the library, one at a time, and has a run look for each
// for five minutes at the most. It takes minutes, and so is built by `make chaos-bites`
// alone.
func TestChaosBites(t *testing.T) {
	for _, f := range planted {
		t.Run(strings.ReplaceAll(f.backend+" "+f.name, " ", "-"), func(t *testing.T) {
			began := time.Now()
			cmd := exec.Command("go", "test", "-count=1", "-race", "-vet=off", "-timeout=15m", "-overlay="+plant.Overlay(t, "../..", f.edits), "-run=^TestChaos$/on/"+f.backend+"$", "-v", ".")
			cmd.Env = append(os.Environ(), "CHAOS_DURATION=5m", "CHAOS_MINIMIZE=", "CHAOS_DIR="+t.TempDir())
			out, err := cmd.CombinedOutput()
			found := regexp.MustCompile(`VIOLATED after .*`).Find(out)
			switch {
			case err == nil:
				t.Errorf("%s: five minutes of chaos did not notice", f.name)
			case found == nil:
				t.Errorf("%s: the run did not find it, but something else failed: %v\n%s", f.name, err, out)
			default:
				t.Logf("found in %v, the build included: %s", time.Since(began).Round(time.Second), found)
			}
		})
	}
}
