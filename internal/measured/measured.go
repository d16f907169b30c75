// Package measured notes what tests measure of the promises, and makes of it the
// tables of docs/reliability.md.
package measured

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// A Note is one thing that a test has measured.
type Note struct {
	What  string  `json:"what"`
	Bound string  `json:"bound,omitempty"` // in the symbols of docs/promises.md; "" if nothing is promised
	Limit float64 `json:"limit,omitempty"` // the bound in seconds, where it is known
	Value float64 `json:"value"`           // in seconds, or of what is counted
	Count bool    `json:"count,omitempty"`
}

// key is that of the attributes of a test which carry notes.
const key = "measured"

// Duration notes a time, and what is promised of it.
func Duration(t testing.TB, what, bound string, d time.Duration) {
	t.Helper()
	note(t, Note{What: what, Bound: bound, Value: d.Seconds()})
}

// Count notes a number of something.
func Count(t testing.TB, what, bound string, n int) {
	t.Helper()
	note(t, Note{What: what, Bound: bound, Value: float64(n), Count: true})
}

// Wait notes how long a case waited where it came closest to the bound of a wait.
func Wait(t testing.TB, took, bound time.Duration) {
	t.Helper()
	note(t, Note{What: "longest wait", Limit: bound.Seconds(), Value: took.Seconds()})
}

func note(t testing.TB, n Note) {
	t.Helper()
	b, err := json.Marshal(n)
	if err != nil {
		t.Fatalf("noting %s: %v", n.What, err)
	}
	t.Attr(key, string(b))
	switch {
	case n.Limit > 0:
		t.Logf("%s: %s of %s", n.What, n, seconds(n.Limit))
	case n.Bound != "":
		t.Logf("%s: %s (bound: %s)", n.What, n, n.Bound)
	default:
		t.Logf("%s: %s", n.What, n)
	}
}

// String is the value as the tables have it.
func (n Note) String() string {
	if n.Count {
		return fmt.Sprint(n.Value)
	}
	return seconds(n.Value)
}

func seconds(s float64) string {
	switch {
	case s < 0.001:
		return "< 1 ms"
	case s < 0.1:
		return fmt.Sprintf("%.0f ms", 1000*s)
	default:
		return fmt.Sprintf("%.2f s", s)
	}
}
