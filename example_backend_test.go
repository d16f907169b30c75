package registry_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/go-rollcall/registry"
)

// A board is a registry of one process, and its Backend: a map behind a mutex.
// Every method makes one try, and says what came of it. Trying again,
// registering again after the loss of a session, keeping the last good set in
// an outage: all that is the Registry's.
type board struct {
	mu      sync.Mutex
	down    int // so many requests more are refused
	version int
	changed chan struct{} // closed at each change
	pins    map[string]map[string]pin
}

type pin struct {
	value []byte
	owner *boardSession
}

func newBoard() *board {
	return &board{changed: make(chan struct{}), pins: map[string]map[string]pin{}}
}

// ask is one request: do runs unless the board is down or ctx has ended.
func (b *board) ask(ctx context.Context, do func()) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down > 0 {
		b.down--
		return errors.New("board: connection refused")
	}
	if ctx.Err() == nil {
		do()
	}
	return ctx.Err()
}

// change notes that something is different now. b.mu is held.
func (b *board) change() {
	b.version++
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *board) String() string { return "board" }

func (b *board) NewSession(ctx context.Context, ttl time.Duration) (registry.Session, error) {
	s := &boardSession{b: b, ttl: ttl, mine: map[[2]string]bool{}}
	err := b.ask(ctx, func() { s.timer = time.AfterFunc(ttl, s.end) })
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (b *board) Lookup(ctx context.Context, service string) (recs []registry.Record, err error) {
	err = b.ask(ctx, func() {
		for id, p := range b.pins[service] {
			recs = append(recs, registry.Record{Service: service, ID: id, Value: p.value})
		}
	})
	return recs, err
}

func (b *board) Services(ctx context.Context) (names []string, err error) {
	err = b.ask(ctx, func() {
		for name, pins := range b.pins {
			if len(pins) > 0 {
				names = append(names, name)
			}
		}
	})
	return names, err
}

// Watch hands over the whole set at each change, as this registry does not tell
// what has changed: the Registry finds out.
func (b *board) Watch(ctx context.Context, service string, sink registry.Sink) error {
	for {
		var changed chan struct{}
		var version string
		if err := b.ask(ctx, func() { changed, version = b.changed, fmt.Sprint(b.version) }); err != nil {
			return err
		}
		recs, err := b.Lookup(ctx, service) // after changed was taken: no change is lost
		if err != nil {
			return err
		}
		sink.Reset(recs, version)
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (b *board) Current(ctx context.Context, _, version string) (same bool, err error) {
	err = b.ask(ctx, func() { same = fmt.Sprint(b.version) == version })
	return same, err
}

func (b *board) Close() error { return nil } // it has no connections

// A boardSession owns the pins that have it as their owner.
type boardSession struct {
	b     *board
	ttl   time.Duration
	timer *time.Timer
	over  bool
	mine  map[[2]string]bool // service and ID of what Guard looks after
}

func (s *boardSession) String() string { return "session" }

func (s *boardSession) TTL() time.Duration { return s.ttl }

func (s *boardSession) Renew(ctx context.Context) error {
	return s.ask(ctx, func() { s.timer.Reset(s.ttl) })
}

// ask is one request in the session.
func (s *boardSession) ask(ctx context.Context, do func()) error {
	var err error
	asked := s.b.ask(ctx, func() {
		if s.over {
			err = fmt.Errorf("%w: not renewed in time", registry.ErrSessionLost)
			return
		}
		do()
	})
	return errors.Join(asked, err)
}

func (s *boardSession) Guard(ctx context.Context, lost func(service, id string)) error {
	for {
		var gone [][2]string
		var changed chan struct{}
		if err := s.ask(ctx, func() {
			changed = s.b.changed
			for at := range s.mine {
				if s.b.pins[at[0]][at[1]].owner != s {
					delete(s.mine, at)
					gone = append(gone, at)
				}
			}
		}); err != nil {
			return err
		}
		for _, at := range gone {
			lost(at[0], at[1])
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *boardSession) Put(ctx context.Context, recs []registry.Record) []error {
	return s.each(ctx, recs, func(pins map[string]pin, rec registry.Record) error {
		old, taken := pins[rec.ID]
		if taken && old.owner != s && !rec.TakeOver && registry.OwnerOf(old.value) != rec.Owner {
			return registry.ErrSuperseded
		}
		pins[rec.ID] = pin{rec.Value, s}
		s.mine[[2]string{rec.Service, rec.ID}] = true
		return nil
	})
}

func (s *boardSession) Delete(ctx context.Context, recs []registry.Record) []error {
	return s.each(ctx, recs, func(pins map[string]pin, rec registry.Record) error {
		if pins[rec.ID].owner == s {
			delete(s.mine, [2]string{rec.Service, rec.ID})
			delete(pins, rec.ID)
		}
		return nil
	})
}

// each makes one request of recs.
func (s *boardSession) each(ctx context.Context, recs []registry.Record, do func(map[string]pin, registry.Record) error) []error {
	errs := make([]error, len(recs))
	err := s.ask(ctx, func() {
		for i, rec := range recs {
			if s.b.pins[rec.Service] == nil {
				s.b.pins[rec.Service] = map[string]pin{}
			}
			errs[i] = do(s.b.pins[rec.Service], rec)
		}
		s.b.change()
	})
	if err != nil {
		for i := range errs {
			errs[i] = err
		}
	}
	return errs
}

func (s *boardSession) Close(context.Context) error {
	s.timer.Stop()
	s.end()
	return nil
}

// end is the server's: the pins go with their session.
func (s *boardSession) end() {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.over = true
	for _, pins := range s.b.pins {
		maps.DeleteFunc(pins, func(_ string, p pin) bool { return p.owner == s })
	}
	s.b.change()
}

func ExampleBackend() {
	ctx := context.Background()
	b := newBoard()
	reg := registry.New(b, &registry.Options{Logger: slog.New(slog.DiscardHandler)})
	defer reg.Close()

	// The board refuses twice. It does not try again, and the caller need not.
	b.down = 2
	me, err := reg.Register(ctx, registry.Instance{Service: "go_servers", Addr: "10.0.0.7:8897"})
	fmt.Println(me.Instance().ID, err)
	fmt.Println("refused still:", b.down)

	list, err := reg.Lookup(ctx, "go_servers")
	fmt.Println(len(list), "instance,", err)
	// Output:
	// 10.0.0.7:8897 <nil>
	// refused still: 0
	// 1 instance, <nil>
}
