package chaos

import (
	"fmt"
	"testing"
)

// TestSameSeedSameFaults: a seed is all that faults depend on, and other seeds and rounds
// give others. Every kind comes up.
func TestSameSeedSameFaults(t *testing.T) {
	any := func(Kind) bool { return true }
	seen := map[string]bool{}
	met := map[Kind]bool{}
	for seed := range uint64(10) {
		for round := range 9 {
			faults := draw(seed, round, any, ttl, 30, 45, 3)
			text := fmt.Sprint(faults)
			if again := fmt.Sprint(draw(seed, round, any, ttl, 30, 45, 3)); again != text {
				t.Errorf("seed %d, round %d: %s\nand then %s", seed, round, text, again)
			}
			if seen[text] {
				t.Errorf("seed %d, round %d: the faults of another: %s", seed, round, text)
			}
			seen[text] = true
			busy := map[[2]int]Fault{}
			for _, f := range faults {
				met[f.Kind] = true
				if f.At < 0 || f.At+f.Length > storm {
					t.Errorf("seed %d, round %d: %v is not within the storm", seed, round, f)
				}
				at := [2]int{int(f.Kind.layer()), f.Victim}
				if f.Kind.layer() == serverLayer {
					at[1] = 0
				}
				if o, ok := busy[at]; ok && o.At+o.Length > f.At {
					t.Errorf("seed %d, round %d: %v while %v lasts", seed, round, f, o)
				}
				busy[at] = f
			}
		}
	}
	for k := range kinds {
		if !met[k] {
			t.Errorf("no fault is %v", k)
		}
	}
}
