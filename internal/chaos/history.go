package chaos

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// An opKind is what an operation does to a record, or sees of it.
type opKind int

const (
	opRestore    opKind = iota // the record is as the last round left it
	opRegister                 // a registration begins, and takes over
	opAgain                    // one that has begun is written again, taking over again
	opUpdate                   // it has newer metadata
	opReplace                  // it is no longer wanted, and its record stays for the next one of the same client
	opWithdraw                 // registrations are no longer wanted, and their record goes
	opSuperseded               // one was told that a newer one has taken over
	opRemove                   // somebody else deletes the record, whoever holds it
	opSpoil                    // somebody else writes nonsense
	opLookup                   // a client reads
)

// An op is an operation on one record, or a part of one.
type op struct {
	kind   opKind
	key    int
	client int
	regs   []int // the registrations it is about
	ver    int   // of the metadata
	seen   int   // by opLookup: the registration, or nobody
	maybe  bool  // its outcome is unknown: it takes effect or not
	lossy  uint64
	call   time.Duration
	ret    time.Duration // 0 while nobody knows when it cannot take effect any more
}

func (o *op) String() string {
	what := [...]string{"restore", "register", "register again", "update", "replace", "withdraw", "superseded:", "remove", "spoil", "lookup"}[o.kind]
	who := ""
	switch {
	case o.kind == opLookup && o.seen == nobody:
		return "lookup: none"
	case o.kind == opLookup:
		return fmt.Sprintf("lookup: r%d v%d", o.seen, o.ver)
	case o.kind == opUpdate || o.kind == opRestore:
		who = fmt.Sprintf(" v%d", o.ver)
	}
	for _, r := range o.regs {
		what += fmt.Sprintf(" r%d", r)
	}
	if o.maybe {
		who += ", perhaps"
	}
	return what + who
}

// history gathers operations.
type history struct {
	mu  sync.Mutex
	ops []*op
}

func (h *history) add(o *op) *op {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, o)
	return o
}

// settle notes that what o may do it does not do later than now.
func (h *history) settle(ops []*op, now time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, o := range ops {
		if o.ret == 0 {
			o.ret = now
		}
	}
}

// sofar returns copies of the operations up to now.
func (h *history) sofar() (ops []*op) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, o := range h.ops {
		o := *o
		ops = append(ops, &o)
	}
	return ops
}

// take returns all operations, and begins anew.
func (h *history) take(now time.Duration) []*op {
	h.mu.Lock()
	defer h.mu.Unlock()
	ops := h.ops
	h.ops = nil
	for _, o := range ops {
		if o.ret == 0 {
			o.ret = now
		}
	}
	return ops
}

// A registration as the run knows it. Its number is in its metadata, so that whoever
// reads a record knows whose it is.
type reg struct {
	n, client, key int
	over           atomic.Int64 // when it was known to be withdrawn or superseded; 0: not yet
}

// table is all registrations of a run.
type table struct {
	mu   sync.Mutex
	regs []*reg
}

// first is the number of the first registration; lower ones have other meanings.
const (
	nobody = 0 // there is no record
	other  = 1 // there is one of somebody else's
	first  = 2
)

func (t *table) add(client, key int) *reg {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := &reg{n: first + len(t.regs), client: client, key: key}
	t.regs = append(t.regs, r)
	return r
}

func (t *table) get(n int) *reg {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n < first || n-first >= len(t.regs) {
		return nil
	}
	return t.regs[n-first]
}
