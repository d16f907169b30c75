package registry

import (
	"context"
	"errors"
	"time"
)

// A registration is a handle on an entry of the keeper, which it may no longer
// be the wanted one of. Its fields are guarded by the keeper's mutex, but those
// that never change.
type registration struct {
	k *keeper
	key
	addr  string
	owner string // tells this registration from all others, through its sessions
	done  chan struct{}

	value     []byte // as announced, or about to be
	confirmed bool   // the registry has held it: it no longer takes over from others
	err       error  // why it ended; nil while it is wanted
	gone      uint64 // the wish that withdrew or replaced it; 0: none
}

func (k *keeper) register(ctx context.Context, in Instance) (*registration, error) {
	r := &registration{k: k, key: key{in.Service, in.ID}, addr: in.Addr, owner: newOwner(), done: make(chan struct{})}
	var err error
	if r.value, err = encode(in, r.owner); err != nil {
		return nil, err
	}
	k.mu.Lock()
	if k.c.ctx.Err() != nil {
		k.mu.Unlock()
		return nil, ErrClosed
	}
	e := k.entries[r.key]
	if e == nil {
		e = &entry{key: r.key, written: k.gen}
		k.entries[r.key] = e
	}
	if e.want != nil {
		e.want.end(ErrSuperseded)
		e.want.gone = k.gen + 1 // the wish of r
	}
	e.want, e.held = r, false
	w := k.wish(e)
	k.start()
	k.mu.Unlock()
	if err := k.wait(ctx, e, w); err != nil {
		k.withdraw(r)
		k.giveUp()
		return nil, err
	}
	select {
	case <-r.done:
		k.mu.Lock()
		defer k.mu.Unlock()
		if errors.Is(r.err, ErrSuperseded) {
			return nil, r.err
		}
	default: // without the lock, which thousands may want at once
	}
	return r, nil
}

// end closes Done with why. The keeper's mutex is held.
func (r *registration) end(why error) {
	if r.err == nil {
		r.err = why
		close(r.done)
	}
}

// withdraw makes r unwanted, and returns what to wait for: a wish of e, or what is known
// already if e is nil.
func (k *keeper) withdraw(r *registration) (e *entry, w waiter) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e = k.entries[r.key]
	switch {
	case e != nil && e.want == r:
		e.want, e.held = nil, false
		r.end(ErrClosed)
		w = k.wish(e)
		r.gone = w.gen
		if k.abandon == nil { // no session, no record
			k.settle(e, nil, e.gen, nil)
		}
		return e, w
	case e != nil && e.written < r.gone:
		w = waiter{r.gone, make(chan error, 1)}
		e.waiters = append(e.waiters, w)
		return e, w
	}
	w = waiter{r.gone, make(chan error, 1)}
	var why error
	if left := k.left[r.key]; left.written < r.gone {
		why = left.why
	}
	w.ch <- why
	return nil, w
}

// giveUp ends the session if there is nothing in it that anybody wants, so that
// a record whose withdrawal nobody confirms is not kept alive.
func (k *keeper) giveUp() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.abandon == nil || len(k.entries) == 0 {
		return
	}
	for _, e := range k.entries {
		if e.want != nil {
			return
		}
	}
	k.abandon(errAbandoned)
}

func (r *registration) Deregister(ctx context.Context) error {
	e, w := r.k.withdraw(r)
	err := r.k.wait(ctx, e, w)
	if err != nil && e != nil {
		r.k.giveUp()
	}
	return r.k.c.wrap("deregister", r.service, r.id, err)
}

func (r *registration) Update(ctx context.Context, meta map[string]string) error {
	return r.k.c.wrap("update", r.service, r.id, r.update(ctx, meta))
}

func (r *registration) update(ctx context.Context, meta map[string]string) error {
	if err := checkMeta(meta); err != nil {
		return err
	}
	k := r.k
	k.mu.Lock()
	if r.err != nil {
		k.mu.Unlock()
		return r.err
	}
	value, err := encode(Instance{Addr: r.addr, Meta: meta}, r.owner)
	if err != nil {
		k.mu.Unlock()
		return err
	}
	r.value = value
	e := k.entries[r.key]
	w := k.wish(e)
	k.mu.Unlock()
	if err := k.wait(ctx, e, w); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return r.err
}

func (r *registration) Instance() Instance {
	r.k.mu.Lock()
	value := r.value
	r.k.mu.Unlock()
	in, _ := decode(r.service, r.id, value) // what encode has made is sound
	return in
}

func (r *registration) Done() <-chan struct{} { return r.done }

func (r *registration) Err() error {
	k := r.k
	k.mu.Lock()
	defer k.mu.Unlock()
	err := r.err
	if err == nil {
		err = k.why(r)
	}
	return k.c.wrap("registration of", r.service, r.id, err)
}

func (r *registration) TTL() time.Duration {
	r.k.mu.Lock()
	defer r.k.mu.Unlock()
	return r.k.ttl
}
