package registry

import (
	"errors"
	"slices"
	"testing"
)

// TestFences: a fence is moved after doubts, once, before anything of its service is
// written, and where it cannot be only that service is not written.
func TestFences(t *testing.T) {
	var f Fences
	recs := []Record{{Service: "a", ID: "1"}, {Service: "b", ID: "2"}, {Service: "a", ID: "3"}, {Service: "c", ID: "4"}}
	var moved, wrote []string
	fault := map[string]error{}
	revision := uint64(6)
	move := func(service string) (uint64, error) {
		moved = append(moved, service)
		revision++
		return revision, fault[service]
	}
	errWrite := errors.New("not written")
	write := func(recs []Record) []error {
		var errs []error
		for _, rec := range recs {
			wrote = append(wrote, rec.ID)
			var err error
			if rec.ID == "4" {
				err = errWrite
			}
			errs = append(errs, err)
		}
		return errs
	}
	try := func(step string, moves, writes []string, want []error) {
		t.Helper()
		moved, wrote = nil, nil
		errs := f.Write(recs, move, write)
		if !slices.Equal(moved, moves) || !slices.Equal(wrote, writes) || !slices.Equal(errs, want) {
			t.Errorf("%s: moved %v, wrote %v, errors %v; want %v, %v, %v", step, moved, wrote, errs, moves, writes, want)
		}
	}
	all := []string{"1", "2", "3", "4"}
	try("no doubts", nil, all, []error{nil, nil, nil, errWrite})
	f.Doubt("a")
	f.Doubt("elsewhere")
	errMove := errors.New("no answer")
	fault["a"] = errMove
	try("the move fails", []string{"a"}, []string{"2", "4"}, []error{errMove, nil, errMove, errWrite})
	if at := f.At("a"); at != 0 {
		t.Errorf("the fence is at %d, and was not moved", at)
	}
	delete(fault, "a")
	try("the move is made", []string{"a"}, all, []error{nil, nil, nil, errWrite})
	if a, b := f.At("a"), f.At("b"); a != 8 || b != 0 {
		t.Errorf("the fences are at %d and %d, want 8 and 0", a, b)
	}
	try("doubts are gone", nil, all, []error{nil, nil, nil, errWrite})
	f.Doubt("a")
	if at := f.At("a"); at != 8 {
		t.Errorf("in doubt, the fence is at %d, want 8", at)
	}
	f.Doubt("b")
	fault["a"], fault["b"] = errMove, errMove
	moved = nil
	if errs := f.Write(recs, move, write); len(moved) != 1 || errs[0] != errMove || errs[1] != errMove {
		t.Errorf("the registry is away, and was asked for %v, with %v", moved, errs)
	}
	fault["a"], fault["b"] = ErrDenied, ErrDenied
	moved = nil
	if errs := f.Write(recs, move, write); len(moved) != 2 || errs[0] != ErrDenied || errs[1] != ErrDenied {
		t.Errorf("services are denied, and moved were %v, with %v", moved, errs)
	}
}
