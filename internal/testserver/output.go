package testserver

import (
	"bytes"
	"regexp"
	"sync"
	"testing"
	"time"
)

// outputTime is for a program to write what is waited for.
const outputTime = 30 * time.Second

// An Output collects what a program writes, and lets a test wait for it.
type Output struct {
	mu      sync.Mutex
	b       bytes.Buffer
	changed chan struct{} // closed at the next Write; nil if nobody waits
}

func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
	return o.b.Write(p)
}

func (o *Output) String() string {
	text, _ := o.From(0)
	return string(text)
}

// From returns what was written after the first from bytes, and a channel that is
// closed when there is more.
func (o *Output) From(from int) (text []byte, more <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed == nil {
		o.changed = make(chan struct{})
	}
	return bytes.Clone(o.b.Bytes()[from:]), o.changed
}

// Await returns the submatches of the first match of re, and ends t if none comes.
func (o *Output) Await(t testing.TB, re string) []string {
	t.Helper()
	limit := time.NewTimer(outputTime)
	defer limit.Stop()
	for {
		text, more := o.From(0)
		if m := regexp.MustCompile(re).FindStringSubmatch(string(text)); m != nil {
			return m
		}
		select {
		case <-more:
		case <-limit.C:
			t.Fatalf("no %q after %v in:\n%s", re, outputTime, text)
		}
	}
}
