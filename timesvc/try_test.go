package timesvc_test

import (
	"io"
	"strings"
	"testing"

	"github.com/go-rollcall/registry/timesvc"
)

func TestAnswersRefused(t *testing.T) {
	for answer, want := range map[string]string{
		"":                          "without an answer",
		"h:1: 2000":                 "before the end of the line",
		"one\ntwo\n":                "not one line",
		"\x1b[2Jgone\n":             "not one line",
		"\xff\xfe\n":                "not one line",
		strings.Repeat("x", 5000):   "longer than 4096 bytes",
		strings.Repeat("y", 10<<20): "longer than 4096 bytes",
	} {
		t.Run(want, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				w.store.Plant(service, "h:1", nil)
				l := w.Listen("h:1")
				go func() {
					c, err := l.Accept()
					if err != nil {
						t.Error(err)
						return
					}
					io.WriteString(c, answer)
					c.Close()
				}()
				c, _ := w.client(timesvc.ClientOptions{})
				if _, err := c.Get(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v, want an error with %q", err, want)
				}
			})
		})
	}
}
