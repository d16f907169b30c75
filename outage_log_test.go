package registry_test

import (
	"bytes"
	"context"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/memreg"
)

// A story is what a Registry logs, a line each, with the time since it began.
type story struct {
	mu    sync.Mutex
	began time.Time
	b     bytes.Buffer
}

func newStory() (*story, *slog.Logger) {
	s := &story{began: time.Now()}
	return s, slog.New(slog.NewTextHandler(s, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Value.Kind() == slog.KindTime {
			return slog.String(a.Key, a.Value.Time().Sub(s.began).Round(time.Second).String())
		}
		if a.Value.Kind() == slog.KindDuration {
			return slog.String(a.Key, a.Value.Duration().Round(time.Second).String())
		}
		return a
	}}))
}

func (s *story) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

// lines returns what was logged so far, and begins anew. An empty set that is held
// back is left out: it is chance whether a reader is back before the others. What is
// logged is so after what it tells of can be seen.
func (s *story) lines() []string {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := strings.Split(strings.TrimSuffix(s.b.String(), "\n"), "\n")
	s.b.Reset()
	return slices.DeleteFunc(lines, func(line string) bool { return strings.Contains(line, "nobody is registered after the outage") })
}

// want compares lines with patterns, whose order within one second is open.
func (s *story) want(t *testing.T, patterns ...string) {
	t.Helper()
	lines := s.lines()
	if len(lines) != len(patterns) {
		t.Errorf("%d lines, want %d", len(lines), len(patterns))
	}
	for _, p := range patterns {
		n := 0
		for _, line := range lines {
			if regexp.MustCompile("^" + p + "$").MatchString(line) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d lines are %s", n, p)
		}
	}
	if t.Failed() {
		t.Logf("the log:\n%s", strings.Join(lines, "\n"))
	}
}

// outage runs two registrations and a reader for a minute, with an outage of an
// hour after it and a minute in the end, and returns the log of the outage.
func outage(t *testing.T, fail, mend func(*memreg.Conn)) *story {
	s, log := newStory()
	link := memreg.NewStore().Conn()
	reg := registry.New(link, &registry.Options{Logger: log})
	t.Cleanup(func() { reg.Close() })
	for _, addr := range []string{"a:1", "a:2"} {
		if _, err := reg.Register(t.Context(), registry.Instance{Service: "svc", Addr: addr}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range reg.Watch(ctx, "svc") {
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	time.Sleep(time.Minute + time.Second)
	s.want(t, "")
	fail(link)
	time.Sleep(time.Hour - time.Second)
	mend(link)
	time.Sleep(time.Minute)
	return s
}

// Who reads the log of an outage finds what was lost, since when, what is being
// tried, and when it was back: seven lines for an hour.
func TestOutageInTheLog(t *testing.T) {
	for name, tt := range map[string]struct {
		fail, mend func(*memreg.Conn)
		lines      []string
	}{
		"the link breaks": {(*memreg.Conn).Cut, (*memreg.Conn).Heal, []string{
			`time=1m3s level=WARN msg="registry: session not renewed: trying again" backend=memory registrations=2 since=1m0s "proven for"=7s err=.*is cut"`,
			`time=1m10s level=WARN msg="registry: registrations no longer confirmed: trying again" backend=memory registrations=2 since=1m0s err=.*is cut"`,
			`time=1m11s level=WARN msg="registry: watch not confirmed: the last good set stays" backend=memory service=svc instances=2 since=1m0s err=.*is cut"`,
			`time=1h1m[0-9]s level=WARN msg="registry: session over: opening another" backend=memory session="session 1" registrations=2 since=1m0s err="session lost: the store has ended it"`,
			`time=1h1m[0-9]s level=INFO msg="registry: session opened: registering again" backend=memory session="session 2" ttl=10s registrations=2`,
			`time=1h1m[0-9]s level=INFO msg="registry: registered again" backend=memory registrations=2 after=1h0m[0-9]s`,
			`time=1h1m[0-9]s level=INFO msg="registry: watch confirmed again" backend=memory service=svc instances=\d after=1h0m[0-9]s`,
		}},
		"nothing answers": {(*memreg.Conn).Freeze, (*memreg.Conn).Heal, []string{
			`time=1m6s level=WARN msg="registry: session not renewed: trying again" backend=memory registrations=2 since=1m0s "proven for"=4s err=.*does not answer.*`,
			`time=1m10s level=WARN msg="registry: registrations no longer confirmed: trying again" backend=memory registrations=2 since=1m0s err=.*does not answer.*`,
			`time=1m7s level=WARN msg="registry: watch not confirmed: the last good set stays" backend=memory service=svc instances=2 since=1m0s err=.*does not answer.*`,
			`time=1h1m[0-9]s level=WARN msg="registry: session over: opening another" backend=memory session="session 1" registrations=2 since=1m0s err="session lost: the store has ended it"`,
			`time=1h1m[0-9]s level=INFO msg="registry: session opened: registering again" backend=memory session="session 2" ttl=10s registrations=2`,
			`time=1h1m[0-9]s level=INFO msg="registry: registered again" backend=memory registrations=2 after=1h0m[0-9]s`,
			`time=1h1m[0-9]s level=INFO msg="registry: watch confirmed again" backend=memory service=svc instances=\d after=1h0m[0-9]s`,
		}},
		"the client is denied": {(*memreg.Conn).Deny, (*memreg.Conn).Allow, []string{
			`time=1m1s level=WARN msg="registry: cannot watch what is registered: trying again" backend=memory err="denied .*`,
			`time=1m1s level=WARN msg="registry: watch not confirmed: the last good set stays" backend=memory service=svc instances=2 since=1m0s err="denied .*`,
			`time=1m3s level=WARN msg="registry: session not renewed: trying again" backend=memory registrations=2 since=1m0s "proven for"=7s err="denied .*`,
			`time=1m10s level=WARN msg="registry: registrations no longer confirmed: trying again" backend=memory registrations=2 since=1m0s err="denied .*`,
			`time=1h1m[0-9]s level=WARN msg="registry: session over: opening another" backend=memory session="session 1" registrations=2 since=1m0s err="session lost: the store has ended it"`,
			`time=1h1m[0-9]s level=INFO msg="registry: session opened: registering again" backend=memory session="session 2" ttl=10s registrations=2`,
			`time=1h1m[0-9]s level=INFO msg="registry: registered again" backend=memory registrations=2 after=1h0m[0-9]s`,
			`time=1h1m[0-9]s level=INFO msg="registry: watch confirmed again" backend=memory service=svc instances=\d after=1h0m[0-9]s`,
		}},
		"the session expires": {
			func(c *memreg.Conn) { c.Expire() }, func(*memreg.Conn) {}, []string{
				`time=1m[0-3]s level=WARN msg="registry: session over: opening another" backend=memory session="session 1" registrations=2 since=1m[0-3]s err="session lost: .*`,
				`time=1m[0-3]s level=INFO msg="registry: session opened: registering again" backend=memory session="session 2" ttl=10s registrations=2`,
				`time=1m[0-3]s level=INFO msg="registry: registered again" backend=memory registrations=2 after=0s`,
			}},
		"a short break": {
			(*memreg.Conn).Cut, func(*memreg.Conn) {}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if tt.lines == nil {
					fail := tt.fail
					tt.fail = func(c *memreg.Conn) { fail(c); time.Sleep(5 * time.Second); c.Heal() }
					tt.lines = []string{
						`time=1m3s level=WARN msg="registry: session not renewed: trying again" backend=memory registrations=2 since=1m0s "proven for"=7s err=.*is cut"`,
						`time=1m[5-8]s level=INFO msg="registry: session confirmed again" backend=memory registrations=2 after=[5-8]s`,
					}
				}
				outage(t, tt.fail, tt.mend).want(t, tt.lines...)
			})
		})
	}
}

// The registry is away at the start.
func TestLateRegistryInTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log := newStory()
		link := memreg.NewStore().Conn()
		link.Cut()
		reg := registry.New(link, &registry.Options{Logger: log})
		defer reg.Close()
		time.AfterFunc(time.Hour, link.Heal)
		if _, err := reg.Register(t.Context(), registry.Instance{Service: "svc", Addr: "a:1"}); err != nil {
			t.Fatal(err)
		}
		s.want(t,
			`time=0s level=WARN msg="registry: no session can be opened: trying again" backend=memory registrations=0 since=0s err=.*is cut"`,
			`time=1h0m[0-2]s level=INFO msg="registry: session opened" backend=memory session="session 1" ttl=10s after=1h0m[0-9]s`,
		)
		link.Cut()
		time.AfterFunc(time.Hour, link.Heal)
		for snap, err := range reg.Watch(t.Context(), "svc") {
			if err != nil || len(snap.Instances) > 0 && snap.Err == nil {
				break
			}
		}
		var watch []string
		for _, line := range s.lines() {
			if strings.Contains(line, "service=svc") {
				watch = append(watch, line)
			}
		}
		if len(watch) != 2 || !strings.Contains(watch[0], "watch has no first set yet: trying again") ||
			!regexp.MustCompile(`watch confirmed again.* instances=\d after=1h0m[0-9]s`).MatchString(watch[1]) {
			t.Errorf("the watch in the log:\n%s", strings.Join(watch, "\n"))
		}
	})
}

// A record that somebody deletes is one line, and one when it is back.
func TestStolenRecordInTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log := newStory()
		store := memreg.NewStore()
		reg := registry.New(store.Conn(), &registry.Options{Logger: log})
		defer reg.Close()
		if _, err := reg.Register(t.Context(), registry.Instance{Service: "svc", Addr: "a:1"}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		store.Remove("svc", "a:1")
		time.Sleep(time.Minute)
		s.want(t,
			`time=0s level=WARN msg="registry: record lost to somebody else: writing it again" backend=memory service=svc instance=a:1`,
			`time=0s level=INFO msg="registry: record written again" backend=memory service=svc instance=a:1 after=0s`,
		)
	})
}

// refusing is a backend whose next writes fail as the test says.
type refusing struct {
	registry.Backend
	mu   sync.Mutex
	next []error // nil at its end: the backend decides
}

type refusingSession struct {
	registry.Session
	b *refusing
}

func (b *refusing) NewSession(ctx context.Context, ttl time.Duration) (registry.Session, error) {
	s, err := b.Backend.NewSession(ctx, ttl)
	return refusingSession{s, b}, err
}

func (s refusingSession) Put(ctx context.Context, recs []registry.Record) []error {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	if len(s.b.next) == 0 {
		return s.Session.Put(ctx, recs)
	}
	err := s.b.next[0]
	s.b.next = s.b.next[1:]
	return slices.Repeat([]error{err}, len(recs))
}

// A refusal is news also where something else failed before, and only once.
func TestRefusalAfterAnotherFailureInTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &refusing{Backend: memreg.NewStore().Conn()}
		story, log := newStory()
		reg := registry.New(b, &registry.Options{Logger: log})
		defer reg.Close()
		r := register(t, reg, 1)
		b.mu.Lock()
		b.next = []error{context.DeadlineExceeded, registry.ErrDenied, context.DeadlineExceeded, registry.ErrDenied}
		b.mu.Unlock()
		_ = r.Update(t.Context(), map[string]string{"n": "1"})
		time.Sleep(time.Minute)
		story.want(t, `time=0s level=WARN .*write refused: trying again" .*instance=x1 err=.*denied.*`, `time=\d+s level=INFO .*record written again" .*instance=x1 .*`)
	})
}

// A slowHandler takes a second for a line, and counts those under way.
type slowHandler struct {
	slog.Handler
	underway *atomic.Int32
}

func (h slowHandler) Handle(context.Context, slog.Record) error {
	h.underway.Add(1)
	defer h.underway.Add(-1)
	time.Sleep(time.Second)
	return nil
}

func (h slowHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h slowHandler) WithAttrs([]slog.Attr) slog.Handler       { return h }

// TestNoLineAfterClose: a line that is being written is waited for, whatever time it takes.
func TestNoLineAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var underway atomic.Int32
		link := memreg.NewStore().Conn()
		reg := registry.New(link, &registry.Options{Logger: slog.New(slowHandler{underway: &underway})})
		r := register(t, reg, 1)
		link.Cut()
		time.Sleep(2 * time.Second) // past the lines about the link
		for r.Err() == nil || underway.Load() == 0 {
			time.Sleep(10 * time.Millisecond)
		}
		reg.Close()
		if n := underway.Load(); n > 0 {
			t.Errorf("%d lines are being written after Close", n)
		}
	})
}
