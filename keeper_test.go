package registry_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/memreg"
)

func instance(i int) registry.Instance {
	return registry.Instance{Service: "svc", ID: fmt.Sprint("x", i), Addr: "10.0.0.7:8897"}
}

func register(t *testing.T, reg registry.Registry, i int) registry.Registration {
	t.Helper()
	r, err := reg.Register(t.Context(), instance(i))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestMetadataIsTheCallers: what a call was given, and what Instance returns, may be changed
// afterwards, and nothing that is announced changes with it, nor when it is announced again.
func TestMetadataIsTheCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := memreg.NewStore().Conn()
		reg := registry.New(conn, quiet)
		defer reg.Close()
		in := instance(0)
		in.Meta = map[string]string{"by": "register"}
		r, err := reg.Register(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		check := func(want string) {
			t.Helper()
			if got := r.Instance().Meta["by"]; got != want {
				t.Errorf("Instance says %q, want %q", got, want)
			}
			conn.Expire() // so that it is written again
			synctest.Wait()
			time.Sleep(time.Minute)
			list, err := reg.Lookup(t.Context(), "svc")
			if err != nil || len(list) != 1 || list[0].Meta["by"] != want {
				t.Errorf("announced is %v (%v), want %q", list, err, want)
			}
		}
		in.Meta["by"] = "nobody"
		check("register")
		r.Instance().Meta["by"] = "nobody"
		check("register")
		meta := map[string]string{"by": "update"}
		if err := r.Update(t.Context(), meta); err != nil {
			t.Fatal(err)
		}
		meta["by"] = "nobody"
		check("update")
	})
}

// What piles up while a write is under way goes out together.
func TestBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 1000
		conn := memreg.NewStore().Conn()
		reg := registry.New(conn, quiet)
		regs := make([]registry.Registration, n)
		for _, do := range []struct {
			name string
			one  func(i int) error
		}{
			{"Register without a session", func(i int) (err error) { regs[i], err = reg.Register(t.Context(), instance(i)); return err }},
			{"Update", func(i int) error { return regs[i].Update(t.Context(), map[string]string{"k": "v"}) }},
			{"Deregister", func(i int) error { return regs[i].Deregister(t.Context()) }},
			{"Register in a session", func(i int) (err error) { regs[i], err = reg.Register(t.Context(), instance(i)); return err }},
		} {
			conn.Freeze()
			requests, records := conn.Requests(), conn.Records()
			var wg sync.WaitGroup
			for i := range n {
				wg.Go(func() {
					if err := do.one(i); err != nil {
						t.Errorf("%s: %v", do.name, err)
					}
				})
			}
			synctest.Wait() // each waits for an answer
			conn.Heal()
			wg.Wait()
			if d := conn.Requests() - requests; d > 3 {
				t.Errorf("%s, %d at once: %d requests, want 3 at most", do.name, n, d)
			}
			if d := conn.Records() - records; d != n {
				t.Errorf("%s, %d at once: %d records were sent", do.name, n, d)
			}
		}
		requests := conn.Requests()
		if err := reg.Close(); err != nil {
			t.Error(err)
		}
		if d := conn.Requests() - requests; d != 1 {
			t.Errorf("Close with %d registrations: %d requests, want 1", n, d)
		}
	})
}

// Three renewals a TTL and two questions for each service that is watched,
// however many registrations and readers there are: quiet costs nothing else.
func TestQuietHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttls = int(time.Hour / (10 * time.Second))
		conn := memreg.NewStore().Conn()
		reg := registry.New(conn, quiet)
		defer reg.Close()
		hour := func(what string, want int) {
			t.Helper()
			requests, records := conn.Requests(), conn.Records()
			time.Sleep(time.Hour)
			if d := conn.Requests() - requests; d < want-3 || d > want+3 {
				t.Errorf("%s: %d requests in an hour, want %d", what, d, want)
			}
			if d := conn.Records() - records; d > 0 {
				t.Errorf("%s: %d records were carried in an hour", what, d)
			}
		}
		hour("a Registry that is not used", 0)

		first := register(t, reg, 0)
		hour("one registration", 3*ttls)
		for i := range 50 {
			register(t, reg, i+1)
		}
		hour("51 registrations", 3*ttls)

		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				snapshots := 0
				for snap, err := range reg.Watch(ctx, "svc") {
					if err == nil && snap.Err == nil {
						snapshots++
					}
				}
				if snapshots != 1 {
					t.Errorf("%d snapshots in a quiet hour, want the first", snapshots)
				}
			})
		}
		synctest.Wait()
		hour("51 registrations and 10 readers", 5*ttls)
		cancel()
		wg.Wait()
		hour("the readers are gone", 3*ttls)
		if err := first.Err(); err != nil {
			t.Error(err)
		}
	})
}

// A writer notes when records are written.
type writer struct {
	registry.Backend
	at *times
}

type writerSession struct {
	registry.Session
	at *times
}

type times struct {
	mu  sync.Mutex
	all []time.Time
}

func (w writer) NewSession(ctx context.Context, ttl time.Duration) (registry.Session, error) {
	s, err := w.Backend.NewSession(ctx, ttl)
	if err != nil {
		return nil, err
	}
	return writerSession{s, w.at}, nil
}

func (s writerSession) Put(ctx context.Context, recs []registry.Record) []error {
	s.at.mu.Lock()
	s.at.all = append(s.at.all, time.Now())
	s.at.mu.Unlock()
	return s.Session.Put(ctx, recs)
}

// peak is the largest number within any d.
func (a *times) peak(d time.Duration) (most int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	slices.SortFunc(a.all, time.Time.Compare)
	from := 0
	for to, t := range a.all {
		for t.Sub(a.all[from]) >= d {
			from++
		}
		most = max(most, to-from+1)
	}
	return most
}

// Promise 24: a thousand clients come back together, and their writes are
// spread by jitter, with a peak of at most 2N a jitter window.
func TestReturnIsSpread(t *testing.T) {
	for _, tt := range []struct {
		name   string
		window time.Duration // the first pause is drawn from 25 to 50 ms, the longest from 1 to 2 s
		fault  func([]*memreg.Conn)
	}{
		{"all sessions expire", 25 * time.Millisecond, func(conns []*memreg.Conn) {
			for _, c := range conns {
				c.Expire()
			}
		}},
		{"an outage", time.Second, func(conns []*memreg.Conn) {
			for _, c := range conns {
				c.Cut()
			}
			time.Sleep(15 * time.Second) // the sessions are over, and the pauses at their longest
			for _, c := range conns {
				c.Heal()
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const n = 1000
				store := memreg.NewStore()
				at := &times{}
				var conns []*memreg.Conn
				var regs []registry.Registration
				for i := range n {
					c := store.Conn()
					reg := registry.New(writer{c, at}, quiet)
					defer reg.Close()
					conns = append(conns, c)
					regs = append(regs, register(t, reg, i))
				}
				at.all = nil
				tt.fault(conns)
				time.Sleep(registry.MaxBackoff)
				for _, r := range regs {
					if err := r.Err(); err != nil {
						t.Fatalf("not back: %v", err)
					}
				}
				if len(at.all) != n {
					t.Errorf("%d writes for %d clients", len(at.all), n)
				}
				if p := at.peak(tt.window / 10); p > 2*n/10 {
					t.Errorf("%d of %d writes within %v", p, n, tt.window/10)
				}
			})
		})
	}
}

// A Deregister that was confirmed is over: another registration of the same ID is none of
// its business.
func TestDeregisterOfWhatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := memreg.NewStore().Conn()
		reg := registry.New(link, quiet)
		defer reg.Close()
		old := register(t, reg, 1)
		if err := old.Deregister(t.Context()); err != nil {
			t.Fatal(err)
		}
		link.Cut()
		var again sync.WaitGroup
		defer again.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		again.Go(func() { _, _ = reg.Register(ctx, old.Instance()) })
		synctest.Wait()
		if err := old.Deregister(ctx); err != nil {
			t.Errorf("the withdrawal was confirmed, and now: %v", err)
		}
	})
}

// failing writes nothing, and counts the tries by ID.
type failing struct {
	*memreg.Conn
	mu    *sync.Mutex
	tries map[string]int
}

func (b failing) NewSession(ctx context.Context, ttl time.Duration) (registry.Session, error) {
	s, err := b.Conn.NewSession(ctx, ttl)
	return failingSession{s, b}, err
}

type failingSession struct {
	registry.Session
	b failing
}

func (s failingSession) Put(_ context.Context, recs []registry.Record) []error {
	errs := make([]error, len(recs))
	for i, rec := range recs {
		s.b.mu.Lock()
		s.b.tries[rec.ID]++
		s.b.mu.Unlock()
		errs[i] = errors.New("no answer")
	}
	return errs
}

// TestNewcomersDoNotHasten: what fails again and again keeps its pauses, whoever comes to
// fail with it.
func TestNewcomersDoNotHasten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := failing{memreg.NewStore().Conn(), new(sync.Mutex), map[string]int{}}
		reg := registry.New(b, quiet)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var wg sync.WaitGroup
		for i := range 600 {
			wg.Go(func() { _, _ = reg.Register(ctx, instance(i)) })
			time.Sleep(100 * time.Millisecond)
		}
		wg.Wait()
		_ = reg.Close()
		if n := b.tries["x0"]; n > 70 || n < 30 {
			t.Errorf("%d tries in a minute, want one every second or two", n)
		}
	})
}
