package silence_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-rollcall/registry/internal/silence"
)

const hurry = silence.Enough / 3

func TestLine(t *testing.T) {
	for name, tt := range map[string]struct {
		calls func(l *silence.Line) (dead bool)
		want  bool
	}{
		"one that waits for long enough":       {func(l *silence.Line) bool { return wait(l, silence.Enough) }, true},
		"one in a hurry":                       {func(l *silence.Line) bool { return wait(l, hurry) }, false},
		"four in a hurry, one after the other": {func(l *silence.Line) bool { return waits(l, 4) }, true},
		"four in a hurry, and an answer between them": {func(l *silence.Line) bool {
			dead := waits(l, 2)
			l.Heard()
			time.Sleep(time.Microsecond)
			return dead || waits(l, 2)
		}, false},
		"many in a hurry at the same time": {func(l *silence.Line) (dead bool) {
			sent := time.Now()
			time.Sleep(hurry)
			for range 10 {
				dead = dead || l.InVain(sent)
			}
			return dead
		}, false},
		"one that waits while others are answered": {func(l *silence.Line) bool {
			time.AfterFunc(silence.Enough, l.Heard)
			return wait(l, 2*silence.Enough)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for _, known := range []bool{false, true} {
					l := silence.Begin()
					if known {
						l.Heard()
						time.Sleep(time.Microsecond)
					}
					if l.New() == known {
						t.Errorf("New: %v", l.New())
					}
					if got := tt.calls(l); got != tt.want {
						t.Errorf("something was heard before: %v: dead: %v", known, got)
					}
				}
			})
		})
	}
}

// wait is a call that gets no answer.
func wait(l *silence.Line, d time.Duration) bool {
	sent := time.Now()
	time.Sleep(d)
	return l.InVain(sent)
}

// waits are calls in a hurry, one after the other.
func waits(l *silence.Line, n int) (dead bool) {
	for range n {
		dead = wait(l, hurry)
	}
	return dead
}
