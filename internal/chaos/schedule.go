package chaos

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// A Kind is a kind of fault.
type Kind int

const (
	// Of a client's link.
	Cut Kind = iota
	Freeze
	DropReplies
	Crash // the program ends without a word, and is started again
	// On the wire, between the link and the servers.
	Delay
	DropHalf // half of the connections carry nothing any more
	Throttle
	// Behind the client's back.
	Expire
	Remove
	Spoil // somebody else writes nonsense
	Leave // the program ends as it should, and is started again
	// Of the servers.
	KillMember
	PauseMember
	KillLeader
	PauseLeader
	IsolateLeader
	KillTwo
	RestartAll
	Compact
	kinds
)

func (k Kind) String() string {
	return [...]string{"cut", "freeze", "drop-replies", "crash", "delay", "drop-half", "throttle", "expire", "remove", "spoil", "leave",
		"kill-member", "pause-member", "kill-leader", "pause-leader", "isolate-leader", "kill-two", "restart-all", "compact"}[k]
}

// A layer is what can have one fault at a time: of one client, or of the servers.
type layer int

const (
	linkLayer layer = iota
	wireLayer
	recordLayer
	serverLayer
)

func (k Kind) layer() layer {
	switch {
	case k <= Crash:
		return linkLayer
	case k <= Throttle:
		return wireLayer
	case k <= Leave:
		return recordLayer
	}
	return serverLayer
}

// A Fault is one fault of a round.
type Fault struct {
	Kind   Kind
	Victim int // a client, a key or a member; the leader is who leads then
	At     time.Duration
	Length time.Duration // 0 where it has none
}

func (f Fault) String() string {
	who := ""
	switch f.Kind {
	case Remove, Spoil:
		who = fmt.Sprint(" of record ", f.Victim)
	case KillMember, PauseMember, KillTwo:
		who = fmt.Sprint(" from member ", f.Victim)
	case KillLeader, PauseLeader, IsolateLeader, RestartAll, Compact:
	default:
		who = fmt.Sprint(" of client ", f.Victim)
	}
	return fmt.Sprintf("%-5v + %-5v %v%s", f.At.Round(time.Millisecond), f.Length.Round(time.Millisecond), f.Kind, who)
}

const (
	storm = 16 * time.Second

	// Every client whose number is a multiple of far has wires that can be spoilt: each
	// is one more process for every byte to go through.
	far = 3
)

// draw returns the faults of a round in the order in which they begin. They depend on
// the arguments only. Every third round spares the servers, and every third the clients
// for the most part: what no fault can explain is told best there.
func draw(seed uint64, round int, possible func(Kind) bool, ttl time.Duration, clients, keys, members int) []Fault {
	rng := rand.New(rand.NewPCG(seed, uint64(round)))
	theme := round % 3
	var all []Fault
	busy := map[[2]int][]Fault{} // by layer and victim
	between := func(lo, hi time.Duration) time.Duration { return lo + time.Duration(rng.Int64N(int64(hi-lo))) }

	for range []int{14, 4, 10}[theme] + rng.IntN(6) {
		f := Fault{Kind: Kind(rng.IntN(int(KillMember))), Victim: rng.IntN(clients), At: between(0, storm-ttl)}
		switch {
		case f.Kind == Remove || f.Kind == Spoil:
			f.Victim = rng.IntN(keys)
		case f.Kind.layer() == wireLayer:
			f.Victim -= f.Victim % far
		}
		switch {
		case rng.IntN(3) == 0:
			f.Length = between(ttl/16, ttl/5) // short enough to cost nothing
		default:
			f.Length = between(ttl/2, 3*ttl)
		}
		if f.Kind == Expire || f.Kind == Leave || f.Kind == Remove || f.Kind == Crash {
			f.Length = 0
		}
		if f.Kind == Spoil {
			f.Length = between(ttl/16, ttl)
		}
		f.Length = min(f.Length, storm-f.At)
		at := [2]int{int(f.Kind.layer()), f.Victim}
		overlaps := func(o Fault) bool { return f.At < o.At+o.Length+ttl && o.At < f.At+f.Length+ttl }
		if possible(f.Kind) && !slices.ContainsFunc(busy[at], overlaps) {
			busy[at] = append(busy[at], f)
			all = append(all, f)
		}
	}
	if theme != 0 {
		for at := between(0, 2*time.Second); at < storm-3*time.Second; {
			f := Fault{Kind: KillMember + Kind(rng.IntN(int(kinds-KillMember))), Victim: rng.IntN(members), At: at}
			if f.Kind != Compact {
				f.Length = min(between(ttl/6, 2*ttl), storm-at)
			}
			at += f.Length + between(time.Second, 5*time.Second)
			if possible(f.Kind) {
				all = append(all, f)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b Fault) int { return cmp.Compare(a.At, b.At) })
	return all
}
