package measured_test

import (
	"strings"
	"testing"

	"github.com/go-rollcall/registry/internal/measured"
)

const promises = `| | promise | cases |
| --- | --- | --- |
| 16 | kill -9 of the owner: the record goes. | dead-owner, slow-owner |
| 21 | The leader dies. | – |
`

const doc = `before
<!-- suite -->
old
<!-- end -->
between
<!-- herd -->
old
<!-- end -->
after
`

func line(pkg, test, rest string) string {
	return `{"Action":` + rest + `,"Package":"example.org/` + pkg + `","Test":"` + test + `"}` + "\n"
}

func attr(note string) string { return `"attr","Key":"measured","Value":` + note }

func TestFill(t *testing.T) {
	log := line("zkreg", "TestConformance/dead-owner", attr(`"{\"what\":\"longest wait\",\"limit\":2,\"value\":1.5}"`)) +
		line("zkreg", "TestConformance/dead-owner", attr(`"{\"what\":\"longest wait\",\"limit\":4,\"value\":2}"`)) +
		line("zkreg", "TestConformance/dead-owner", `"pass"`) +
		line("etcdreg", "TestConformance/dead-owner", `"pass"`) +
		line("consulreg", "TestConformance/dead-owner", `"pass"`) +
		line("consulreg", "TestConformance/dead-owner", `"fail"`) +
		line("memreg", "TestInBubbles/dead-owner", `"skip"`) +
		line("internal/herd", "TestHerd/etcdreg/quiet", attr(`"{\"what\":\"requests\",\"value\":7,\"count\":true}"`)) +
		line("internal/herd", "TestHerd/etcdreg/quiet", attr(`"{\"what\":\"back after\",\"bound\":\"2R\",\"value\":0.0123}"`)) +
		line("internal/herd", "TestHerd/zkreg/quiet", attr(`"{\"what\":\"back after\",\"bound\":\"2R\",\"value\":0.25}"`)) +
		line("internal/herd", "TestHerd/zkreg/quiet", attr(`"{\"what\":\"back after\",\"bound\":\"2R\",\"value\":0.0002}"`)) +
		`{"Action":"output","Package":"example.org/zkreg","Output":"ok"}` + "\n"
	var l measured.Log
	if err := l.Read(strings.NewReader(log)); err != nil {
		t.Fatal(err)
	}
	got, err := l.Fill(doc, promises)
	if err != nil {
		t.Fatal(err)
	}
	want := `before
<!-- suite -->
| promise | case | memreg | zkreg | etcdreg | consulreg |
| --- | --- | --- | --- | --- | --- |
| 16 | dead-owner | – | 1.50 s of 2.00 s | kept | **broken** in 1 of 2 |
| 16 | slow-owner | – | – | – | – |
| 21 | – | – | – | – | – |
<!-- end -->
between
<!-- herd -->
| test | measured | bound | zkreg | etcdreg |
| --- | --- | --- | --- | --- |
| quiet | requests | – | – | 7 |
| quiet | back after | 2R | < 1 ms to 0.25 s | 12 ms |
<!-- end -->
after
`
	if l.Failed != 1 {
		t.Errorf("%d failed, want 1", l.Failed)
	}
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestWhatCannotBeFilled(t *testing.T) {
	var l measured.Log
	if err := l.Read(strings.NewReader("=== RUN\n")); err == nil {
		t.Error("output that is no JSON is read")
	}
	l = measured.Log{}
	if err := l.Read(strings.NewReader(line("internal/chaos", "TestChaos/zkreg", `"pass"`))); err != nil {
		t.Fatal(err)
	}
	if got, err := l.Fill(doc, promises); err == nil {
		t.Errorf("a table that is not there is filled:\n%s", got)
	}
}
