package main

import (
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// redraw is how often the bar is drawn where no lines come in between.
const redraw = 100 * time.Millisecond

// A screen is what a program writes to, and a progress bar below that. There is a bar
// only where stderr is a terminal.
type screen struct {
	out, err io.Writer

	mu    sync.Mutex
	bar   *progressbar.ProgressBar // nil if there is none
	shown bool                     // the bar is in the line of the cursor
}

// stdout and stderr return writers of whole lines: while a line is unfinished there
// is no bar.
func (s *screen) stdout() io.Writer { return above{s, s.out, isTerminal(s.out)} }
func (s *screen) stderr() io.Writer { return above{s, s.err, isTerminal(s.err)} }

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
}

// begin shows a bar for n steps.
func (s *screen) begin(n int) {
	if !isTerminal(s.err) {
		return
	}
	pause := redraw
	if isTerminal(s.out) {
		pause = 0 // it goes and comes with each line
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bar = progressbar.NewOptions(n, progressbar.OptionSetWriter(s.err), progressbar.OptionUseANSICodes(true),
		progressbar.OptionThrottle(pause), progressbar.OptionClearOnFinish(), progressbar.OptionShowCount(),
		progressbar.OptionShowIts(), progressbar.OptionSetItsString("requests"))
	s.draw()
}

// step moves the bar on.
func (s *screen) step() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bar != nil {
		_ = s.bar.Add(1) // a terminal that is gone has nobody before it
	}
}

// end takes the bar away. Ending again does nothing.
func (s *screen) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	s.bar = nil
}

func (s *screen) draw() {
	if s.bar != nil {
		_ = s.bar.RenderBlank()
		s.shown = true
	}
}

func (s *screen) clear() {
	if s.shown {
		_ = s.bar.Clear()
		s.shown = false
	}
}

// above writes to w, which is above the bar if it is a terminal as well.
type above struct {
	s        *screen
	w        io.Writer
	terminal bool
}

func (a above) Write(p []byte) (int, error) {
	if !a.terminal {
		return a.w.Write(p)
	}
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	a.s.clear()
	n, err := a.w.Write(p)
	if n > 0 && p[n-1] == '\n' {
		a.s.draw()
	}
	return n, err
}
