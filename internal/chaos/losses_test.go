package chaos

import (
	"testing"
	"time"
)

// TestLosses shows which clients may lack records when, and that what may still come when
// all seems settled is not forgotten.
func TestLosses(t *testing.T) {
	const all = ^uint64(0)
	l := newLosses(3)
	check := func(from, to time.Duration, want uint64) {
		t.Helper()
		if got := l.during(from, to); got != want {
			t.Errorf("from %v to %v clients %b may lack records, want %b", from, to, got, want)
		}
	}
	one, servers, leader := l.begin(1, 10), l.begin(-1, 20), l.begin(-1, 40)
	check(0, 9, 0)
	check(12, 15, 1<<1)
	l.end(one, 18)
	check(19, 19, 0)
	l.wereSlow(servers, 30)
	check(30+recovery, 35+recovery, all)
	if l.lastSlow() != 30 {
		t.Errorf("servers were slow at %v, want 30ns", l.lastSlow())
	}
	l.endLate(leader, 50)
	l.settled(45)
	check(12, 15, 0)
	check(44, 46, all)
	check(51, 60, 0)
	l.expect(70, 80)
	l.settled(51)
	check(44, 46, 0)
	check(60, 69, 0)
	check(79, 90, all)
}
