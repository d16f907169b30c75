package conformance

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// elsewhere are the tests of promises that no case can check.
var elsewhere = map[int]string{23: "TestWallClockJumps", 40: "TestChaos"}

// TestDocument compares docs/promises.md with the suite, and sees that no promise is
// left out of docs/reliability.md.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile("../docs/promises.md")
	if err != nil {
		t.Fatal(err)
	}
	measured, err := os.ReadFile("../docs/reliability.md")
	if err != nil {
		t.Fatal(err)
	}
	names := map[int][]string{}
	for _, c := range cases() {
		if promises[c.promise] == "" {
			t.Errorf("case %s: there is no promise %d", c.name, c.promise)
		}
		names[c.promise] = append(names[c.promise], c.name)
	}
	for n, promise := range promises {
		list := strings.Join(names[n], ", ")
		if list == "" {
			list = elsewhere[n]
		}
		if row := fmt.Sprintf("| %d | %s | %s |\n", n, promise, list); !strings.Contains(string(text), row) {
			t.Errorf("docs/promises.md lacks the row\n%s", row)
		}
		if row := fmt.Sprintf("\n| %d | ", n); !strings.Contains(string(measured), row) {
			t.Errorf("docs/reliability.md has no row of promise %d: make reliability", n)
		}
	}
}
