package memreg

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-rollcall/registry"
)

// A Store is the server of a registry in memory. Its methods are safe for
// concurrent use. It needs no closing: it runs no goroutine, and its timers end
// with the sessions.
type Store struct {
	// MinTTL and MaxTTL bound what sessions are granted, as servers do; 0 is no
	// bound. They are set before the first session.
	MinTTL, MaxTTL time.Duration

	mu       sync.Mutex
	services map[string]*service
	sessions map[*session]bool // that are not over
	opened   int               // sessions so far

	servers servers
}

// A service is a set of records and those who watch it. It stays when the last
// record goes, as its version must not begin again.
type service struct {
	records  map[string]record
	version  uint64
	watchers map[*watcher]bool
}

type record struct {
	value []byte
	owner *session // nil: planted, and nobody's
}

// A watcher gathers what has changed since it was last looked at.
type watcher struct {
	changed map[string]bool // record IDs
	wake    chan struct{}   // capacity 1
}

// NewStore returns an empty store.
func NewStore() *Store {
	return &Store{services: map[string]*service{}, sessions: map[*session]bool{}, servers: servers{changed: make(chan struct{})}}
}

// Conn returns a new link to the store: the Backend of one client.
func (s *Store) Conn() *Conn {
	return &Conn{store: s, name: "memory", changed: make(chan struct{})}
}

// Plant writes a record as somebody else would: in any form, taken from its
// owner if it has one, and without a session that could end.
func (s *Store) Plant(service, id string, value []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set("/"+service, id, record{value: slices.Clone(value)})
}

// Remove deletes a record as somebody else would; with an empty ID all records
// of the service.
func (s *Store) Remove(service, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id != "" {
		s.unset("/"+service, id)
		return
	}
	for id := range s.at("/" + service).records {
		s.unset("/"+service, id)
	}
}

// at returns the service at a path. s.mu is held.
func (s *Store) at(path string) *service {
	v := s.services[path]
	if v == nil {
		v = &service{records: map[string]record{}, watchers: map[*watcher]bool{}}
		s.services[path] = v
	}
	return v
}

func (s *Store) set(path, id string, r record) {
	v := s.at(path)
	if old := v.records[id]; old.owner != nil && old.owner != r.owner {
		old.owner.lose(path, id)
	}
	v.records[id] = r
	v.note(id)
}

func (s *Store) unset(path, id string) {
	v := s.at(path)
	old, ok := v.records[id]
	if !ok {
		return
	}
	if old.owner != nil {
		old.owner.lose(path, id)
	}
	delete(v.records, id)
	v.note(id)
}

func (v *service) note(id string) {
	v.version++
	for w := range v.watchers {
		w.changed[id] = true
		signal(w.wake)
	}
}

func (v *service) String() string { return strconv.FormatUint(v.version, 10) }

// list returns the records of the service at path.
func (s *Store) list(path string) []registry.Record {
	v := s.at(path)
	recs := make([]registry.Record, 0, len(v.records))
	for id, r := range v.records {
		recs = append(recs, registry.Record{ID: id, Value: r.value})
	}
	return recs
}

// names returns the services with a record below root.
func (s *Store) names(root string) []string {
	var names []string
	for path, v := range s.services {
		name, ok := strings.CutPrefix(path, root+"/")
		if ok && !strings.Contains(name, "/") && len(v.records) > 0 {
			names = append(names, name)
		}
	}
	return names
}

// watch begins to gather the changes of the service at path.
func (s *Store) watch(path string) *watcher {
	w := &watcher{changed: map[string]bool{}, wake: make(chan struct{}, 1)}
	s.at(path).watchers[w] = true
	return w
}

func (s *Store) unwatch(path string, w *watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.at(path).watchers, w)
}

// changes takes what w has gathered.
func (s *Store) changes(path string, w *watcher) (put []registry.Record, gone []string, version string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.at(path)
	for _, id := range slices.Sorted(maps.Keys(w.changed)) {
		if r, ok := v.records[id]; ok {
			put = append(put, registry.Record{ID: id, Value: r.value})
		} else {
			gone = append(gone, id)
		}
	}
	clear(w.changed)
	return put, gone, v.String()
}

// put is one record of Session.Put, at the server.
func (s *Store) put(ss *session, path string, rec registry.Record) error {
	old, exists := s.at(path).records[rec.ID]
	switch {
	case exists && old.owner == ss && string(old.value) == string(rec.Value):
		return nil
	case exists && old.owner != ss && !rec.TakeOver && registry.OwnerOf(old.value) != rec.Owner:
		return fmt.Errorf("%w (its record is %.200q)", registry.ErrSuperseded, old.value)
	}
	ss.records[[2]string{path, rec.ID}] = true
	s.set(path, rec.ID, record{rec.Value, ss})
	return nil
}

// delete is one record of Session.Delete, at the server.
func (s *Store) delete(ss *session, path, id string) {
	if s.at(path).records[id].owner == ss {
		delete(ss.records, [2]string{path, id}) // so that it is not reported as lost
		s.unset(path, id)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
