package chaos

import (
	"slices"
	"time"
)

// simplify leaves out of a history what makes its check long and says little. What is
// left is right if the whole is.
//
// A registration that perhaps was never made, and that nobody has seen, may have taken
// the record from another and gone again, and so may somebody else whose meddling was not
// answered: while they may, the record may be lost to anybody. An update that nobody has
// seen need not have been made. And what is written again takes nothing from anybody if
// nobody else came in between.
func simplify(ops []*op) (rest []*op) {
	type version struct{ reg, ver int }
	shown, known := map[version]bool{}, map[int]bool{}
	over := map[int]time.Duration{} // when a registration was known to be over
	for _, o := range ops {
		switch {
		case o.kind == opLookup && o.seen >= first:
			shown[version{o.seen, o.ver}] = true
			known[o.seen] = true
		case !o.maybe && o.kind != opWithdraw:
			for _, r := range o.regs {
				known[r] = true
			}
		}
		if !o.maybe && (o.kind == opWithdraw || o.kind == opSuperseded) {
			for _, r := range o.regs {
				if at, ok := over[r]; !ok || o.ret < at {
					over[r] = o.ret
				}
			}
		}
	}
	type span struct{ from, to time.Duration }
	doubtful := map[int][]span{} // by key
	rivals := map[int][]*op{}    // by key: what may come in between
	for _, o := range ops {
		switch {
		case o.kind == opRegister && !known[o.regs[0]], (o.kind == opSpoil || o.kind == opRemove) && o.maybe:
			doubtful[o.key] = append(doubtful[o.key], span{o.call, o.ret})
		case o.kind == opRegister, o.kind == opSpoil, o.kind == opRemove:
			rivals[o.key] = append(rivals[o.key], o)
		}
	}
	overlap := func(o *op, from, to time.Duration) bool { return o.call <= to && from <= o.ret }
	for _, o := range ops {
		switch o.kind {
		case opRegister:
			if !known[o.regs[0]] {
				continue
			}
		case opSpoil, opRemove:
			if o.maybe {
				continue
			}
		case opAgain:
			between := func(p *op) bool {
				return (p.kind != opRegister || p.regs[0] != o.regs[0]) && overlap(o, p.call, p.ret)
			}
			if !known[o.regs[0]] || !slices.ContainsFunc(rivals[o.key], between) {
				continue
			}
		case opUpdate:
			if o.maybe && !shown[version{o.regs[0], o.ver}] {
				continue
			}
		case opWithdraw:
			o.regs = slices.DeleteFunc(slices.Clone(o.regs), func(r int) bool {
				at, ended := over[r]
				return !known[r] || o.maybe && ended && at < o.call
			})
			if len(o.regs) == 0 {
				continue
			}
		}
		for _, s := range doubtful[o.key] {
			if overlap(o, s.from, s.to) {
				o.lossy = ^uint64(0)
			}
		}
		rest = append(rest, o)
	}
	return rest
}
