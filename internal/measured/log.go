package measured

import (
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// Backends are the columns of the tables.
var Backends = []string{"memreg", "zkreg", "etcdreg", "consulreg"}

// A Log is what `go test -json` has said of the cases of the suite and of the tests
// beside it.
type Log struct {
	// Failed counts tests and cases, each run.
	Failed int

	topics map[string]*topic // by the last element of the package's path, "suite" for that
}

// A topic is a table.
type topic struct {
	cells map[cell]*value
	order []cell // without the backend: as they came
}

type cell struct{ backend, name, what string }

// A value is what was measured of one thing, in all runs.
type value struct {
	notes  []Note
	passed int
	failed int
}

type event struct {
	Action, Package, Test, Key, Value string
}

// Read adds what r has to say. Lines that are no events are what go says of the
// build.
func (l *Log) Read(r io.Reader) error {
	if l.topics == nil {
		l.topics = map[string]*topic{}
	}
	dec := json.NewDecoder(r)
	for {
		var ev event
		if err := dec.Decode(&ev); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("this is not what go test -json says: %w", err)
		}
		if ev.Action == "fail" && ev.Test != "" {
			l.Failed++
		}
		elements := strings.Split(ev.Test, "/")
		if len(elements) < 2 {
			continue
		}
		c := cell{backend: path.Base(ev.Package), name: elements[len(elements)-1]}
		name := "suite"
		if !slices.Contains(Backends, c.backend) {
			name, c.backend = c.backend, elements[1]
		}
		t := l.topics[name]
		if t == nil {
			t = &topic{cells: map[cell]*value{}}
			l.topics[name] = t
		}
		switch {
		case ev.Action == "pass":
			t.at(c).passed++
		case ev.Action == "fail":
			t.at(c).failed++
		case ev.Action == "attr" && ev.Key == key:
			var n Note
			if err := json.Unmarshal([]byte(ev.Value), &n); err != nil {
				return fmt.Errorf("%s %s: %w", ev.Package, ev.Test, err)
			}
			c.what = n.What
			v := t.at(c)
			v.notes = append(v.notes, n)
		}
	}
}

func (t *topic) at(c cell) *value {
	if t.cells[c] == nil {
		t.cells[c] = &value{}
		row := cell{name: c.name, what: c.what}
		if row.what != "" && !slices.Contains(t.order, row) {
			t.order = append(t.order, row)
		}
	}
	return t.cells[c]
}

// String is the range of what was measured, or the run in which a wait came closest
// to its bound.
func (v *value) String() string {
	if v == nil || len(v.notes) == 0 {
		return none
	}
	least, most, closest := v.notes[0], v.notes[0], v.notes[0]
	for _, n := range v.notes {
		if n.Value < least.Value {
			least = n
		}
		if n.Value > most.Value {
			most = n
		}
		if n.Limit > 0 && n.Value/n.Limit > closest.Value/closest.Limit {
			closest = n
		}
	}
	switch {
	case closest.Limit > 0:
		return fmt.Sprintf("%s of %s", closest, seconds(closest.Limit))
	case least.String() == most.String():
		return least.String()
	default:
		return fmt.Sprintf("%s to %s", least, most)
	}
}

// none is shown of what was not measured.
const none = "–"
