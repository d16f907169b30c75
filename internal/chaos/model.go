package chaos

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"

	"github.com/anishathalye/porcupine"
)

// A state is what the model knows of one record.
//
// A registration is live from when it takes effect until it is withdrawn or is told
// that it is superseded. There is one record, which is that of a registration, of
// somebody else, or nobody's. What moves it beside the operations:
//
//   - The record of a live registration goes, where a fault may have cost its client the
//     session: op.lossy says whose, and that is seen when a lookup finds none.
//   - A live registration comes back where there is no record, with its newest metadata:
//     the keeper writes it again. Nothing else does so: not one that was withdrawn, or
//     told that it was superseded.
//
// So "the newest wins" holds for as long as the newest is there. If it has gone before
// an older one heard of it, the older one is registered again, as nothing in the
// registry tells it otherwise.
type state struct {
	cur  int    // the registration of the record; nobody, or other
	ver  int    // of its metadata
	live string // live registrations, by number, each with the version that is wanted
}

const entrySize = 8

func (s state) find(reg int) (ver int, at int, found bool) {
	for at = 0; at < len(s.live); at += entrySize {
		e := []byte(s.live[at:][:entrySize])
		switch n := int(binary.BigEndian.Uint32(e)); {
		case n == reg:
			return int(binary.BigEndian.Uint32(e[4:])), at, true
		case n > reg:
			return 0, at, false
		}
	}
	return 0, at, false
}

func (s state) isLive(reg int) bool { _, _, ok := s.find(reg); return ok }

// with returns s in which reg is live, with version ver.
func (s state) with(reg, ver int) state {
	e := binary.BigEndian.AppendUint32(nil, uint32(reg))
	e = binary.BigEndian.AppendUint32(e, uint32(ver))
	_, at, found := s.find(reg)
	end := at
	if found {
		end += entrySize
	}
	s.live = s.live[:at] + string(e) + s.live[end:]
	if s.cur == reg {
		s.ver = ver
	}
	return s
}

// without returns s in which reg is not live.
func (s state) without(reg int) state {
	if _, at, found := s.find(reg); found {
		s.live = s.live[:at] + s.live[at+entrySize:]
	}
	return s
}

// shows returns s in which the record is that of reg, which is live.
func (s state) shows(reg int) state {
	s.cur = reg
	s.ver, _, _ = s.find(reg)
	return s
}

func (s state) empty() state {
	s.cur, s.ver = nobody, 0
	return s
}

func (s state) String() string {
	text := [...]string{"none", "somebody else's"}[min(s.cur, other)]
	if s.cur >= first {
		text = fmt.Sprintf("r%d v%d", s.cur, s.ver)
	}
	for at := 0; at < len(s.live); at += entrySize {
		e := []byte(s.live[at:][:entrySize])
		text += fmt.Sprintf("; r%d v%d", binary.BigEndian.Uint32(e), binary.BigEndian.Uint32(e[4:]))
	}
	return text
}

// step returns the states in which o may leave the record. clientOf tells whose a
// registration is.
func step(s state, o *op, clientOf func(reg int) int) []state {
	next := effect(s, o, clientOf)
	if o.maybe {
		next = append(next, s)
	}
	return next
}

func effect(s state, o *op, clientOf func(reg int) int) []state {
	// free reports whether a registration other than that of the record can be
	// written: there is none, it is nonsense, or it may have been lost.
	free := s.cur < first || o.lossy&(1<<clientOf(s.cur)) != 0
	reg := 0
	if len(o.regs) > 0 {
		reg = o.regs[0]
	}
	switch o.kind {
	case opRestore:
		s = state{}
		if reg >= first {
			s = s.with(reg, o.ver).shows(reg)
		}
		return []state{s}
	case opRegister:
		return []state{s.with(reg, 0).shows(reg)}
	case opAgain:
		if s.isLive(reg) {
			return []state{s.shows(reg)}
		}
	case opUpdate:
		ver, _, live := s.find(reg)
		switch {
		case live && o.ver >= ver && (s.cur == reg || free):
			return []state{s.with(reg, o.ver).shows(reg)}
		case live && o.maybe: // it is wanted, and will be there when it is the record
			return []state{s.with(reg, max(ver, o.ver))}
		case !live && o.maybe && s.cur == reg: // on its way while it was replaced
			s.ver = max(s.ver, o.ver)
			return []state{s}
		}
	case opReplace:
		return []state{s.without(reg)}
	case opWithdraw:
		for _, reg := range o.regs {
			s = s.without(reg)
			if s.cur == reg {
				s = s.empty()
			}
		}
		return []state{s}
	case opSuperseded:
		switch {
		case s.cur != reg:
			return []state{s.without(reg)}
		case free: // by one that nobody has seen
			return []state{s.empty().without(reg)}
		}
	case opRemove:
		return []state{s.empty()}
	case opSpoil:
		s.cur, s.ver = other, 0
		return []state{s}
	case opLookup:
		ver, _, live := s.find(o.seen)
		switch {
		case o.seen == nobody && s.cur < first, o.seen >= first && s.cur == o.seen && s.ver == o.ver:
			return []state{s}
		case o.seen == nobody && free:
			return []state{s.empty()}
		case o.seen >= first && live && ver == o.ver && free && s.cur != o.seen:
			return []state{s.shows(o.seen)}
		}
	}
	return nil
}

func newModel(clientOf func(reg int) int) porcupine.Model {
	m := porcupine.NondeterministicModel{
		Init: func() []any { return []any{state{}} },
		Step: func(s, input, _ any) (next []any) {
			for _, n := range step(s.(state), input.(*op), clientOf) {
				next = append(next, n)
			}
			return next
		},
		Hash: func(s any) uint64 {
			h := fnv.New64a()
			fmt.Fprint(h, s.(state).cur, s.(state).ver, s.(state).live)
			return h.Sum64()
		},
		DescribeOperation: func(input, _ any) string { return input.(*op).String() },
		DescribeState:     func(s any) string { return s.(state).String() },
	}
	return m.ToModel()
}
