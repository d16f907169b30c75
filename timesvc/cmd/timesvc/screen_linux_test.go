package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// openTerminal returns a terminal, and what is written to it once done was called.
func openTerminal(t *testing.T) (terminal *os.File, done func() string) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	var written bytes.Buffer
	read := make(chan struct{})
	go func() {
		defer close(read)
		io.Copy(&written, master) // until the terminal is closed
		master.Close()
	}()
	return terminal, func() string {
		terminal.Close()
		<-read
		return written.String()
	}
}

// shown is what stands on the terminal in the end.
func shown(written string) string {
	var lines [][]byte
	var line []byte
	at := 0
	for len(written) > 0 {
		if m := regexp.MustCompile("^\x1b\\[([02])?K").FindString(written); m != "" {
			if strings.Contains(m, "2") {
				line = nil
			}
			line = line[:min(at, len(line))]
			written = written[len(m):]
			continue
		}
		switch c := written[0]; c {
		case '\r':
			at = 0
		case '\n':
			lines = append(lines, bytes.TrimRight(line, " "))
			line = nil
		default:
			for len(line) <= at {
				line = append(line, ' ')
			}
			line[at] = c
			at++
		}
		written = written[1:]
	}
	return string(bytes.Join(append(lines, line), []byte("\n")))
}

func TestProgressBar(t *testing.T) {
	url := "mem://" + t.Name()
	addrs := serveOn(t, url)
	l := strings.Join(addrs, ",")
	const nobody = "127.0.0.1:1" // is logged
	args := func(form string) []string {
		return []string{"get", "--registry", "static://" + l + "," + nobody, "--requests", "30", "--interval", "1ms", "--balance", "round-robin", "--output", form}
	}
	for _, form := range []string{"text", "json"} {
		t.Run(form, func(t *testing.T) {
			terminal, done := openTerminal(t)
			s := run(t.Context(), args(form), terminal, terminal)
			written := done()
			if s != exitOK {
				t.Errorf("status %d", s)
			}
			if !strings.Contains(written, "(0/30, ") || !strings.Contains(written, "(29/30, ") {
				t.Errorf("no bar from 0 to 29 of 30 in %q", written)
			}
			got := shown(written)
			for line := range strings.SplitSeq(strings.TrimSuffix(got, "\n"), "\n") {
				if !regexp.MustCompile(`^(connect host: \S+|127\.0\.0\.1:\d+: 20\S+Z|\{.*\}|requests: 30, failures: 0|answers by .*[%#]|latency: .*s|time=.* level=.* msg=.*)$`).MatchString(line) {
					t.Errorf("a line is %q", line)
				}
			}
			if n := strings.Count(got, "instance left out"); n == 0 {
				t.Error("nothing was logged meanwhile: this has shown nothing of the log")
			}
			n, want := strings.Count(got, `"request":`), 30
			if form == "text" {
				n, want = strings.Count(got, "connect host: ")+strings.Count(got, "\n127.0.0.1:"), 60
			}
			if n != want {
				t.Errorf("%d lines of answers, want %d:\n%s", n, want, got)
			}
		})
		t.Run(form+" to a file", func(t *testing.T) {
			terminal, done := openTerminal(t)
			var stdout bytes.Buffer
			s := run(t.Context(), args(form), &stdout, terminal)
			written := done()
			if s != exitOK || !strings.Contains(written, "(0/30, ") {
				t.Errorf("status %d, on the terminal %q", s, written)
			}
			if strings.ContainsAny(stdout.String(), "\r\x1b") {
				t.Errorf("the file has something of the bar: %q", &stdout)
			}
			if left := shown(written); slices.ContainsFunc(strings.Split(strings.TrimSpace(left), "\n"), func(line string) bool { return !strings.HasPrefix(line, "time=") }) {
				t.Errorf("left on the terminal: %q", left)
			}
		})
	}
	t.Run("not on a dumb terminal", func(t *testing.T) {
		t.Setenv("TERM", "dumb")
		terminal, done := openTerminal(t)
		s := run(t.Context(), args("text"), terminal, terminal)
		if written := done(); s != exitOK || strings.Contains(written, "/30") || strings.Contains(written, "\x1b") {
			t.Errorf("status %d, %q", s, written)
		}
	})
}

// Where a line is written in parts the bar waits for its end.
func TestBarWaitsForTheEndOfALine(t *testing.T) {
	terminal, done := openTerminal(t)
	s := &screen{out: terminal, err: terminal}
	w := s.stdout()
	s.begin(3)
	for _, part := range []string{"one\n", "tw", "o", "\nthree\n"} {
		if _, err := io.WriteString(w, part); err != nil {
			t.Error(err)
		}
	}
	s.step()
	s.end()
	s.end()
	if got := shown(done()); got != "one\ntwo\nthree\n" {
		t.Errorf("on the terminal is %q", got)
	}
}
