package balance

import "math/bits"

// slots is a prime, as each step must come by every slot.
const slots = 1<<17 - 1

const free = 1<<32 - 1 // instead of an owner

type hashed struct{}

// Hash picks by [Request].Key: the same key goes to the same instance, as long as it is
// there, in all programs that see the same IDs, whatever they saw before. When an
// instance comes or goes, the keys that move are those that it gets or had.
//
// Keys are spread over 131,071 slots, and these over the instances, by chance: shares
// of an instance differ from the mean by 1 % among ten, 2 % among a hundred, and 20 %
// among 10,000 (standard deviations). A change costs some ms of work, aside.
func Hash() Policy { return hashed{} }

func (hashed) Measures() bool { return false }

// Prepare gives each slot to the instance that comes by it first. Each goes through all
// slots in an order of its own, at steps of the same length; where several come at the
// same time, a hash decides, and not the order of the IDs. So who has a slot depends on the
// orders of the instances alone, and changes only if the owner goes, or a new one comes by
// sooner.
func (hashed) Prepare(set []*Node) func(Request) int {
	type walker struct{ at, step uint32 }
	walkers := make([]walker, len(set))
	ids := make([]uint64, len(set))
	for i, n := range set {
		ids[i] = sum(n.in.ID)
		hi, lo := bits.Mul64(mix(ids[i], 1), slots)
		walkers[i] = walker{uint32(hi), 1 + uint32(below(lo, slots-1))}
	}
	owner := make([]uint32, slots)
	round := make([]uint32, slots)
	for i := range owner {
		owner[i] = free
	}
	for now, left := uint32(0), slots; left > 0; now++ {
		for i := range walkers {
			w := &walkers[i]
			switch s := w.at; {
			case owner[s] == free:
				owner[s], round[s] = uint32(i), now
				left--
			case round[s] == now && mix(ids[i], uint64(s)) < mix(ids[owner[s]], uint64(s)):
				owner[s] = uint32(i)
			}
			if w.at += w.step; w.at >= slots {
				w.at -= slots
			}
		}
	}
	return func(r Request) int {
		h := sum(r.Key)
		i := int(owner[below(h, slots)])
		// Where else a key goes does not depend on the set either.
		for try := uint64(1); len(r.Tried) > 0 && try < 8 && r.tried(set[i]); try++ {
			i = int(owner[below(mix(h, try), slots)])
		}
		return i
	}
}

const odd = 0xD6E8FEB86659FD93

// mix makes one number of two, all of whose bits depend on all of theirs.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^golden, b*2+odd)
	x := hi ^ lo
	x = (x ^ x>>32) * odd
	return x ^ x>>32
}

// sum is a hash that is the same in all processes.
func sum(s string) uint64 {
	h := uint64(len(s)) * odd
	for ; len(s) >= 8; s = s[8:] {
		h = mix(h, uint64(s[0])|uint64(s[1])<<8|uint64(s[2])<<16|uint64(s[3])<<24|
			uint64(s[4])<<32|uint64(s[5])<<40|uint64(s[6])<<48|uint64(s[7])<<56)
	}
	var rest uint64
	for i := range len(s) {
		rest = rest<<8 | uint64(s[i])
	}
	return mix(h, rest)
}
