package chaos

import (
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// TestModel shows which histories the model takes. Of registrations 2 to 5, that of
// number n is of client n.
func TestModel(t *testing.T) {
	const open = 1000
	at := func(call, ret int, o op) porcupine.Operation {
		return porcupine.Operation{Input: &o, Call: int64(call), Return: int64(ret)}
	}
	register := func(call, ret, r int) porcupine.Operation {
		return at(call, ret, op{kind: opRegister, regs: []int{r}})
	}
	withdraw := func(call, ret, r int) porcupine.Operation {
		return at(call, ret, op{kind: opWithdraw, regs: []int{r}})
	}
	update := func(call, ret, r, ver int) porcupine.Operation {
		return at(call, ret, op{kind: opUpdate, regs: []int{r}, ver: ver})
	}
	lookup := func(call, r, ver int, lossy ...int) porcupine.Operation {
		o := op{kind: opLookup, seen: r, ver: ver}
		for _, c := range lossy {
			o.lossy |= 1 << c
		}
		return at(call, call, o)
	}
	perhaps := func(o porcupine.Operation) porcupine.Operation {
		o.Input.(*op).maybe = true
		return o
	}
	superseded := func(call, r int) porcupine.Operation {
		return at(call, call, op{kind: opSuperseded, regs: []int{r}})
	}
	remove := at(30, 31, op{kind: opRemove})
	spoil := at(30, 31, op{kind: opSpoil})

	for _, c := range []struct {
		name string
		good bool
		ops  []porcupine.Operation
	}{
		{"registered and seen", true, []porcupine.Operation{register(1, 2, 2), lookup(3, 2, 0)}},
		{"registered and not seen", false, []porcupine.Operation{register(1, 2, 2), lookup(3, nobody, 0)}},
		{"seen before it was asked for", false, []porcupine.Operation{lookup(0, 2, 0), register(1, 2, 2)}},
		{"a gap in a takeover", false, []porcupine.Operation{register(1, 2, 2), register(3, 9, 3), lookup(4, nobody, 0), lookup(10, 3, 0)}},
		{"a gap in a takeover, by one that may have lost its session", true, []porcupine.Operation{register(1, 2, 2), register(3, 9, 3), lookup(4, nobody, 0, 2), lookup(10, 3, 0)}},
		{"a gap that another's fault does not explain", false, []porcupine.Operation{register(1, 2, 2), register(3, 9, 3), lookup(4, nobody, 0, 5), lookup(10, 3, 0)}},
		{"the older one is back", false, []porcupine.Operation{register(1, 2, 2), register(3, 4, 3), lookup(5, 2, 0)}},
		{"taken over by each other", true, []porcupine.Operation{register(1, 9, 2), register(1, 9, 3), lookup(3, 2, 0), lookup(4, 3, 0)}},
		{"one effect each", false, []porcupine.Operation{register(1, 9, 2), register(1, 9, 3), lookup(3, 2, 0), lookup(4, 3, 0), lookup(5, 2, 0)}},
		{"written again", true, []porcupine.Operation{register(1, 9, 2), perhaps(at(1, 9, op{kind: opAgain, regs: []int{2}})), register(1, 9, 3), lookup(3, 2, 0), lookup(4, 3, 0), lookup(5, 2, 0)}},
		{"withdrawn", true, []porcupine.Operation{register(1, 2, 2), withdraw(3, 4, 2), lookup(5, nobody, 0)}},
		{"withdrawn and there", false, []porcupine.Operation{register(1, 2, 2), withdraw(3, 4, 2), lookup(5, 2, 0)}},
		{"withdrawn, gone, and back with a new session", false, []porcupine.Operation{register(1, 2, 2), withdraw(3, 4, 2), lookup(5, nobody, 0, 2), lookup(6, 2, 0, 2)}},
		{"perhaps withdrawn", true, []porcupine.Operation{register(1, 2, 2), perhaps(withdraw(3, open, 2)), lookup(5, 2, 0), lookup(6, nobody, 0)}},
		{"perhaps withdrawn, gone, and back", false, []porcupine.Operation{register(1, 2, 2), perhaps(withdraw(3, open, 2)), lookup(6, nobody, 0), lookup(7, 2, 0)}},
		{"perhaps registered", true, []porcupine.Operation{perhaps(register(1, open, 2)), lookup(5, nobody, 0), lookup(6, 2, 0)}},
		{"perhaps registered, and gone for no reason", false, []porcupine.Operation{perhaps(register(1, open, 2)), lookup(6, 2, 0), lookup(7, nobody, 0)}},
		{"lost and back", true, []porcupine.Operation{register(1, 2, 2), lookup(5, nobody, 0, 2), lookup(6, 2, 0)}},
		{"lost and back with the newest metadata", true, []porcupine.Operation{register(1, 2, 2), update(3, 4, 2, 1), lookup(5, nobody, 0, 2), lookup(6, 2, 1)}},
		{"lost and back with older metadata", false, []porcupine.Operation{register(1, 2, 2), update(3, 4, 2, 1), lookup(5, nobody, 0, 2), lookup(6, 2, 0)}},
		{"metadata goes back", false, []porcupine.Operation{register(1, 2, 2), update(3, 9, 2, 1), lookup(5, 2, 1), lookup(6, 2, 0)}},
		{"an update that failed is written later", true, []porcupine.Operation{register(1, 2, 2), perhaps(update(3, open, 2, 1)), lookup(5, 2, 0), lookup(6, 2, 1)}},
		{"an update that failed is written after a later one", false, []porcupine.Operation{register(1, 2, 2), perhaps(update(3, open, 2, 1)), update(4, 5, 2, 2), lookup(6, 2, 1)}},
		{"an update of one that was superseded", false, []porcupine.Operation{register(1, 2, 2), register(3, 4, 3), update(5, 6, 2, 1)}},
		{"superseded, and told so", true, []porcupine.Operation{register(1, 2, 2), register(3, 4, 3), superseded(5, 2), lookup(6, 3, 0)}},
		{"told that it is superseded, and it is not", false, []porcupine.Operation{register(1, 2, 2), superseded(5, 2)}},
		{"the newer one withdrawn before the older one heard of it", true, []porcupine.Operation{register(1, 2, 2), register(3, 4, 3), withdraw(5, 6, 3), lookup(7, 2, 0)}},
		{"the newer one withdrawn after the older one heard of it", false, []porcupine.Operation{register(1, 2, 2), register(3, 4, 3), superseded(5, 2), withdraw(6, 7, 3), lookup(8, 2, 0)}},
		{"removed by somebody, and back", true, []porcupine.Operation{register(1, 2, 2), remove, lookup(32, nobody, 0), lookup(33, 2, 0)}},
		{"spoilt by somebody, and put right", true, []porcupine.Operation{register(1, 2, 2), spoil, lookup(32, nobody, 0), lookup(33, 2, 0)}},
		{"spoilt by somebody, and given up", true, []porcupine.Operation{register(1, 2, 2), spoil, superseded(32, 2), lookup(33, nobody, 0)}},
		{"spoilt by somebody, given up, and back", false, []porcupine.Operation{register(1, 2, 2), spoil, superseded(32, 2), lookup(33, 2, 0)}},
		{"replaced by the same client", true, []porcupine.Operation{register(1, 2, 2), at(3, 4, op{kind: opReplace, regs: []int{2}}), register(3, 4, 3), lookup(3, 2, 0), lookup(5, 3, 0)}},
		{"replaced by the same client, and back", false, []porcupine.Operation{register(1, 2, 2), at(3, 4, op{kind: opReplace, regs: []int{2}}), register(3, 4, 3), withdraw(5, 6, 3), lookup(7, 2, 0)}},
	} {
		model := newModel(func(reg int) int { return reg })
		if got := porcupine.CheckOperationsTimeout(model, c.ops, 10*time.Second) == porcupine.Ok; got != c.good {
			t.Errorf("%s: taken: %t, want %t", c.name, got, c.good)
		}
	}
}
