package registry

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A transaction of records that begin with "bad" is refused, and so are the
// others in it.
func TestBatchWrite(t *testing.T) {
	refusal := errors.New("refused")
	tests := []struct {
		name  string
		batch Batch
		ids   string
		calls string // in order within a stage; the first stage is sorted
	}{
		{"nothing", Batch{Records: 2, Bytes: 100}, "", ""},
		{"one", Batch{Records: 2, Bytes: 100}, "a", "a"},
		{"by number", Batch{Records: 2, Bytes: 100, InFlight: 3}, "a b c d e", "a+b c+d e"},
		{"by size", Batch{Records: 9, Bytes: 10, InFlight: 3}, "aaaa bbbb cccc", "aaaa+bbbb cccc"},
		{"larger than a batch", Batch{Records: 9, Bytes: 2}, "aaaa b", "aaaa b"},
		{"refused alone", Batch{Records: 2, Bytes: 100}, "bad", "bad bad!"},
		{"refused on account of another", Batch{Records: 3, Bytes: 100, InFlight: 2}, "a bad b c", "a+bad+b c a+bad+b! a! bad! b!"},
		{"refused in two batches", Batch{Records: 2, Bytes: 100}, "a bad1 bad2 b", "a+bad1 bad2+b a+bad1! a! bad1! bad2+b! bad2! b!"},
		{"fewer when they are written again", Batch{Records: 3, Again: 2, Bytes: 100}, "a bad b", "a+bad+b a+bad! a! bad! b!"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var recs []Record
			for _, id := range strings.Fields(tt.ids) {
				recs = append(recs, Record{Service: "s", ID: id})
			}
			var mu sync.Mutex
			var first, later []string
			errs := tt.batch.Write(recs, func(recs []Record, again bool, errs []error) (refused []int) {
				mu.Lock()
				defer mu.Unlock()
				var ids []string
				bad := false
				for _, rec := range recs {
					ids = append(ids, rec.ID)
					bad = bad || strings.HasPrefix(rec.ID, "bad")
				}
				if call := strings.Join(ids, "+"); again {
					later = append(later, call+"!")
				} else {
					first = append(first, call)
				}
				for i := range recs {
					if bad {
						errs[i] = refusal
						refused = append(refused, i)
					}
				}
				return refused
			})
			slices.Sort(first)
			if got := strings.Join(append(first, later...), " "); got != tt.calls {
				t.Errorf("written as %q, want %q", got, tt.calls)
			}
			for i, rec := range recs {
				if bad := strings.HasPrefix(rec.ID, "bad"); bad != (errs[i] != nil) {
					t.Errorf("%s: %v", rec.ID, errs[i])
				}
			}
			if len(errs) != len(recs) {
				t.Errorf("%d errors for %d records", len(errs), len(recs))
			}
		})
	}
}

// What is no transaction's fault stays as it is.
func TestBatchKeepsErrorsOfTheirOwn(t *testing.T) {
	own := errors.New("superseded")
	var recs []Record
	for i := range 5 {
		recs = append(recs, Record{ID: fmt.Sprint(i)})
	}
	calls := 0
	errs := Batch{Records: 10, Bytes: 100}.Write(recs, func(recs []Record, again bool, errs []error) []int {
		calls++
		errs[3] = own
		return nil
	})
	if calls != 1 || errs[3] != own || errs[2] != nil {
		t.Errorf("%d calls, %v", calls, errs)
	}
}
