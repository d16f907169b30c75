package measured

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Fill replaces the tables in doc, each between a line "<!-- name -->" and a line
// "<!-- end -->", by those that l has something for. Of the suite there is a row for
// each case that promises lists, and for each promise without one.
func (l *Log) Fill(doc, promises string) (string, error) {
	for _, name := range slices.Sorted(maps.Keys(l.topics)) {
		begin, end := "<!-- "+name+" -->\n", "<!-- end -->\n"
		before, rest, ok := strings.Cut(doc, begin)
		if !ok {
			return "", fmt.Errorf("there is no line %q for a table", strings.TrimSpace(begin))
		}
		_, after, ok := strings.Cut(rest, end)
		if !ok {
			return "", fmt.Errorf("the table %q has no end", name)
		}
		table := l.topics[name].table()
		if name == "suite" {
			table = l.topics[name].suite(promises)
		}
		doc = before + begin + table + end + after
	}
	return doc, nil
}

var promiseRow = regexp.MustCompile(`(?m)^\| (\d+) \| .* \| ([^|]*) \|$`)

// suite has a row for each case of each promise.
func (t *topic) suite(promises string) string {
	var b strings.Builder
	b.WriteString("| promise | case | memreg | zkreg | etcdreg | consulreg |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, m := range promiseRow.FindAllStringSubmatch(promises, -1) {
		for name := range strings.SplitSeq(m[2], ", ") {
			fmt.Fprintf(&b, "| %s | %s |", m[1], name)
			for _, backend := range Backends {
				if strings.HasPrefix(name, "Test") { // no case of the suite
					fmt.Fprintf(&b, " see below |")
				} else {
					fmt.Fprintf(&b, " %s |", t.kept(backend, name))
				}
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

// kept is what was measured of a case, or that it has passed.
func (t *topic) kept(backend, name string) string {
	v := t.cells[cell{backend: backend, name: name}]
	switch {
	case v == nil || v.passed+v.failed == 0:
		return none
	case v.failed > 0:
		return fmt.Sprintf("**broken** in %d of %d", v.failed, v.failed+v.passed)
	}
	if notes := t.cells[cell{backend, name, "longest wait"}]; notes != nil {
		return notes.String()
	}
	return "kept"
}

// table has a row for each thing that was measured, and a column for each backend
// in which it was.
func (t *topic) table() string {
	var columns []string
	for _, backend := range Backends {
		if slices.ContainsFunc(slices.Collect(maps.Keys(t.cells)), func(c cell) bool { return c.backend == backend }) {
			columns = append(columns, backend)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "| test | measured | bound | %s |\n|%s\n", strings.Join(columns, " | "), strings.Repeat(" --- |", 3+len(columns)))
	for _, row := range t.order {
		bound := none
		var cells []string
		for _, backend := range columns {
			v := t.cells[cell{backend, row.name, row.what}]
			if v != nil && v.notes[0].Bound != "" {
				bound = v.notes[0].Bound
			}
			cells = append(cells, v.String())
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", row.name, row.what, bound, strings.Join(cells, " | "))
	}
	return b.String()
}
