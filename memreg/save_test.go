package memreg

import "testing"

// Who is about to look at what has changed, and does not notice that the link broke, is not
// told less than what has become of the set: the next version hides what it misses.
func TestPutBackBeneathAWatcher(t *testing.T) {
	s := NewStore()
	s.Plant("svc", "stays", nil)
	s.Plant("svc", "back", nil)
	restore := s.Save()
	s.Plant("svc", "gone", nil)
	s.Remove("svc", "back")
	path := s.Conn().path("svc")
	w := s.watch(path)
	restore()
	put, gone, version := s.changes(path, w)
	if len(put) != 2 || len(gone) != 1 || gone[0] != "gone" || version != "2" {
		t.Errorf("it brings %v, and takes %v, at version %s", put, gone, version)
	}
}
