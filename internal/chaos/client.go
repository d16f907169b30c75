package chaos

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-rollcall/registry"
)

// A client is one program: a Registry, a way to it of its own, and one goroutine that
// operates. Its other goroutines read its watches.
type client struct {
	r      *run
	n      int
	rng    *rand.Rand
	orders chan Kind // Crash and Leave

	mu      sync.Mutex // guards the next two
	link    link
	backend registry.Backend

	// Of the goroutine that operates, and of settling while that is held up.
	registry registry.Registry
	handles  map[int]*handle // by key
	limbo    []*handle       // withdrawn, and not confirmed
	regs     map[int][]int   // by key: all that this Registry has ever begun
	open     map[int][]*op   // by key: those with an unknown outcome
	views    []*view
	readers  sync.WaitGroup
}

// A handle is a registration, and what the client wants of it.
type handle struct {
	registry.Registration
	*reg
	ver   int
	ended atomic.Bool // by the client itself
	op    *op         // of its withdrawal
	tries int
}

func newClient(r *run, n int) *client {
	c := &client{r: r, n: n, rng: rand.New(rand.NewPCG(r.cfg.Seed, uint64(1000+n))), orders: make(chan Kind, 4)}
	c.start()
	return c
}

// start begins anew, as a program that was started.
func (c *client) start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, memory := c.link.(*memoryLink); memory || c.link == nil {
		c.link = c.r.w.link(c.n)
	}
	c.backend = c.r.w.open(c.link)
	c.registry = registry.New(c.backend, &registry.Options{
		TTL: c.r.w.ttl,
		// Half of them are not rescued by the question whether a set is current. In
		// Consul, a watch may wait for what does not come without it.
		NoVerify: c.n%2 == 1 && c.r.cfg.Backend != "consul",
		Logger:   c.r.logs.logger(c.n),
	})
	c.handles, c.regs, c.open = map[int]*handle{}, map[int][]int{}, map[int][]*op{}
	c.limbo, c.views = nil, nil
	for s := range services {
		if s == c.n%services || c.n%5 == 0 {
			c.watch(c.r.keys[s*contended].service)
		}
	}
}

// drive operates until ctx ends.
func (c *client) drive(ctx context.Context) {
	for ctx.Err() == nil {
		timer := time.NewTimer(50*time.Millisecond + rand.N(900*time.Millisecond))
		var order Kind = -1
		select {
		case <-timer.C:
		case order = <-c.orders:
		case <-ctx.Done():
		}
		timer.Stop()
		c.r.gate.RLock()
		switch {
		case ctx.Err() != nil:
		case order >= 0:
			c.restart(order)
		default:
			c.operate(ctx)
		}
		c.r.gate.RUnlock()
	}
}

// operate makes one operation at random.
func (c *client) operate(ctx context.Context) {
	most := 4 * time.Second
	if c.rng.IntN(8) == 0 {
		most = time.Duration(c.rng.Int64N(int64(60 * time.Millisecond))) // its outcome may be unknown without any fault
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	own := services*contended + c.n
	if h := c.handles[own]; h == nil || isDone(h) {
		c.register(ctx, own)
		return
	}
	if len(c.limbo) > 0 && c.rng.IntN(3) == 0 {
		c.retire(ctx, c.limbo[0])
		return
	}
	k := c.rng.IntN(services * contended)
	if k/contended != c.n%services && c.rng.IntN(2) == 0 {
		k = c.n%services*contended + k%contended
	}
	var held []*handle
	for _, h := range c.handles {
		if !isDone(h) {
			held = append(held, h)
		}
	}
	slices.SortFunc(held, func(a, b *handle) int { return a.key - b.key })
	switch p := c.rng.IntN(100); {
	case p < 30:
		c.lookup(ctx, c.r.keys[k].service)
	case p < 33:
		c.services(ctx)
	case p < 58:
		c.register(ctx, k)
	case p < 83:
		c.update(ctx, held[c.rng.IntN(len(held))])
	default:
		if h := held[c.rng.IntN(len(held))]; h.key != own {
			c.deregister(ctx, h)
		}
	}
}

func isDone(h *handle) bool {
	select {
	case <-h.Done():
		return true
	default:
		return false
	}
}

func meta(reg, ver int) map[string]string {
	return map[string]string{"r": strconv.Itoa(reg), "v": strconv.Itoa(ver)}
}

// register takes the record, whoever has it.
func (c *client) register(ctx context.Context, k int) {
	at := c.r.keys[k]
	old := c.handles[k]
	delete(c.handles, k)
	reg := c.r.regs.add(c.n, k)
	if old != nil && !isDone(old) {
		old.ended.Store(true)
	} else {
		old = nil
	}
	c.regs[k] = append(c.regs[k], reg.n)
	call := c.r.now()
	got, err := c.registry.Register(ctx, registry.Instance{Service: at.service, ID: at.id, Addr: "127.0.0.1:8897", Meta: meta(reg.n, 0)})
	ret := c.r.now()
	c.r.counts.note("register", err)
	begun := &op{kind: opRegister, key: k, client: c.n, regs: []int{reg.n}, call: call, ret: ret}
	all := []*op{begun}
	// What is not answered is written once more, and takes over once more.
	if ret-call > registry.MaxBackoff/100 { // the shortest pause is more
		all = append(all, &op{kind: opAgain, key: k, client: c.n, regs: begun.regs, maybe: true, call: call, ret: ret})
	}
	if old != nil {
		if err == nil || errors.Is(err, registry.ErrSuperseded) { // else its record may be there, and come back
			old.over.Store(int64(ret))
		}
		all = append(all, &op{kind: opReplace, key: k, client: c.n, regs: []int{old.n}, call: call, ret: ret})
	}
	switch {
	case err == nil:
		c.settled(k, ret)
		h := &handle{Registration: got, reg: reg}
		c.handles[k] = h
		c.readers.Go(func() { c.await(h) })
	case errors.Is(err, registry.ErrSuperseded):
		begun.maybe = true
		all = append(all, &op{kind: opSuperseded, key: k, client: c.n, regs: begun.regs, call: ret, ret: ret})
	default:
		c.blame("register", err)
		begun.maybe = true
		ids := begun.regs
		if old != nil {
			ids = append(ids, old.n)
		}
		all = append(all, &op{kind: opWithdraw, key: k, client: c.n, regs: ids, maybe: true, call: call})
		for _, o := range all {
			o.ret = 0
		}
		c.open[k] = append(c.open[k], all...)
	}
	for _, o := range all {
		c.r.history.add(o)
	}
}

// await notes that somebody else has taken over.
func (c *client) await(h *handle) {
	<-h.Done()
	now, err := c.r.now(), h.Err()
	switch {
	case h.ended.Load():
	case errors.Is(err, registry.ErrSuperseded):
		h.over.Store(int64(now))
		c.r.history.add(&op{kind: opSuperseded, key: h.key, client: c.n, regs: []int{h.n}, call: now, ret: now})
	default:
		c.r.violated("client %d: its registration r%d of %v has ended by itself: %v", c.n, h.n, c.r.keys[h.key], err)
	}
}

func (c *client) update(ctx context.Context, h *handle) {
	h.ver++
	o := &op{kind: opUpdate, key: h.key, client: c.n, regs: []int{h.n}, ver: h.ver, call: c.r.now()}
	err := h.Update(ctx, meta(h.n, h.ver))
	o.ret = c.r.now()
	c.r.counts.note("update", err)
	switch {
	case err == nil:
		c.settled(h.key, o.ret)
	case errors.Is(err, registry.ErrSuperseded):
		o.maybe = true
	default:
		c.blame("update", err)
		o.maybe, o.ret = true, 0
		c.open[h.key] = append(c.open[h.key], o)
	}
	c.r.history.add(o)
}

func (c *client) deregister(ctx context.Context, h *handle) {
	delete(c.handles, h.key)
	h.ended.Store(true)
	h.op = &op{kind: opWithdraw, key: h.key, client: c.n, regs: []int{h.n}, call: c.r.now()}
	err := h.Deregister(ctx)
	ret := c.r.now()
	c.r.counts.note("deregister", err)
	if err == nil {
		h.op.ret = ret
		h.over.Store(int64(ret))
		c.settled(h.key, ret)
	} else {
		c.blame("deregister", err)
		h.op.maybe = true
		c.open[h.key] = append(c.open[h.key], h.op)
		c.limbo = append(c.limbo, h)
	}
	c.r.history.add(h.op)
}

// retire asks once more for the confirmation of a withdrawal.
func (c *client) retire(ctx context.Context, h *handle) {
	if err := h.Deregister(ctx); err == nil {
		ret := c.r.now()
		h.over.CompareAndSwap(0, int64(ret))
		c.r.history.settle([]*op{h.op}, ret)
	} else if h.tries++; h.tries < 4 {
		return
	}
	c.limbo = c.limbo[1:]
}

// settled notes that what was unknown of a record has happened or will not: the library
// writes in order, and has confirmed something later.
func (c *client) settled(k int, now time.Duration) {
	c.r.history.settle(c.open[k], now)
	delete(c.open, k)
}

func (c *client) lookup(ctx context.Context, service string) {
	call := c.r.now()
	list, err := c.registry.Lookup(ctx, service)
	c.r.counts.note("lookup", err)
	if err == nil {
		c.r.looked(c.n, service, list, call, c.r.now())
	} else {
		c.blame("lookup", err)
	}
}

func (c *client) services(ctx context.Context) {
	names, err := c.registry.Services(ctx)
	c.r.counts.note("services", err)
	if err != nil {
		c.blame("services", err)
	} else if !slices.IsSorted(names) {
		c.r.violated("client %d: Services are %q, not sorted", c.n, names)
	}
}

// blame makes an error that is a refusal a violation: nobody refuses anything here, the
// registry can only be out of reach.
func (c *client) blame(what string, err error) {
	if c.r.ctx.Err() == nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		for _, kind := range []error{registry.ErrDenied, registry.ErrInvalid, registry.ErrTooLarge, registry.ErrClosed, registry.ErrSuperseded} {
			if errors.Is(err, kind) {
				c.r.violated("client %d: %s: %v", c.n, what, err)
			}
		}
	}
}
