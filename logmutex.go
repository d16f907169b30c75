package registry

import (
	"context"
	"log/slog"
	"sync"
)

// A logMutex is a mutex under which log lines and events are noted, to be written
// after it is released: a handler may take its time, or call Lookup.
type logMutex struct {
	sync.Mutex
	log   *slog.Logger
	lines []func()
}

func (m *logMutex) say(level slog.Level, msg string, args ...any) {
	m.later(func() { m.log.Log(context.Background(), level, msg, args...) })
}

func (m *logMutex) later(f func()) { m.lines = append(m.lines, f) }

func (m *logMutex) Unlock() {
	lines := m.lines
	m.lines = nil
	m.Mutex.Unlock()
	for _, line := range lines {
		line()
	}
}
