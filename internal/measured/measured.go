// Package measured notes what tests measure of the promises, and makes of it the
// tables of docs/reliability.md.
package measured

import (
	"encoding/json"
	"testing"
	"time"
)

// A Note is one thing that a test has measured. Tests that run more than once, or
// measure the same more than once, have it in the table as a range.
type Note struct {
	What  string  `json:"what"`
	Bound string  `json:"bound"` // what is promised, in the symbols of docs/promises.md; "" if nothing is
	Value float64 `json:"value"`
	Unit  string  `json:"unit,omitempty"`
}

// key is that of the attributes which carry notes.
const key = "measured"

// Duration notes a time.
func Duration(t testing.TB, what, bound string, d time.Duration) {
	t.Helper()
	note(t, Note{what, bound, d.Seconds(), "s"}, d.Round(time.Microsecond).String())
}

// Count notes a number of something.
func Count(t testing.TB, what, bound string, n int) {
	t.Helper()
	note(t, Note{What: what, Bound: bound, Value: float64(n)}, "")
}

func note(t testing.TB, n Note, shown string) {
	t.Helper()
	b, err := json.Marshal(n)
	if err != nil {
		t.Fatalf("noting %s: %v", n.What, err)
	}
	t.Attr(key, string(b))
	if shown == "" {
		t.Logf("%s: %v (%s)", n.What, n.Value, n.Bound)
	} else {
		t.Logf("%s: %s (%s)", n.What, shown, n.Bound)
	}
}
