package registry

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

const (
	cacheDelay   = time.Second      // after a change, for others to come
	cacheRefresh = 10 * time.Minute // how old the time in the file becomes while the set is confirmed
	cacheFormat  = "registry view 1"
)

// A cache keeps the last confirmed set of a service in a file: a line with the
// version of the format and the sum of the rest, then JSON.
type cache struct {
	path    string
	service string
	log     *slog.Logger
	failing bool          // the last write did; only run uses it
	news    chan struct{} // closed when no more will come

	mu   sync.Mutex
	snap Snapshot // the newest
}

type cached struct {
	Service   string           `json:"service"`
	Confirmed time.Time        `json:"confirmed"`
	Instances []cachedInstance `json:"instances"`
}

type cachedInstance struct {
	ID   string            `json:"id"`
	Addr string            `json:"addr"`
	Meta map[string]string `json:"meta,omitempty"`
}

func newCache(dir, service string, log *slog.Logger) *cache {
	path := filepath.Join(dir, service+".view")
	return &cache{path: path, service: service, log: log.With("file", path), news: make(chan struct{}, 1)}
}

// read returns the set in the file. It is not confirmed, and Err says so.
func (c *cache) read() (Snapshot, bool) {
	data, err := os.ReadFile(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return Snapshot{}, false
	}
	var set cached
	if err == nil {
		set, err = c.decode(data)
	}
	if err != nil {
		c.log.Warn("registry: cached set cannot be used: waiting for the registry instead", "err", err)
		return Snapshot{}, false
	}
	snap := Snapshot{Confirmed: set.Confirmed}
	for _, in := range set.Instances {
		snap.Instances = append(snap.Instances, Instance{Service: c.service, ID: in.ID, Addr: in.Addr, Meta: in.Meta})
	}
	snap.Err = &Error{Op: "follow", Service: c.service, Err: fmt.Errorf("%w: the set is that of %s, from %s",
		errUnknown, set.Confirmed.Format(time.RFC3339), c.path)}
	return snap, true
}

// decode takes nothing that is not a whole set of valid instances.
func (c *cache) decode(data []byte) (set cached, err error) {
	head, body, _ := bytes.Cut(data, []byte("\n"))
	switch {
	case !bytes.HasPrefix(head, []byte(cacheFormat+" ")):
		return set, fmt.Errorf("the file does not begin with %q: it is something else, or of another version", cacheFormat)
	case string(head) != heading(body):
		return set, errors.New("the file's sum is wrong: it is damaged")
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return set, err
	}
	if set.Service != c.service || set.Confirmed.IsZero() || len(set.Instances) == 0 {
		return set, fmt.Errorf("the file is of service %q, confirmed %v, with %d instances: that is no set of %q",
			set.Service, set.Confirmed, len(set.Instances), c.service)
	}
	for _, in := range set.Instances {
		if _, err := normalize(Instance{Service: c.service, ID: in.ID, Addr: in.Addr, Meta: in.Meta}); err != nil {
			return set, err
		}
	}
	byID := func(a, b cachedInstance) int { return cmp.Compare(a.ID, b.ID) }
	if !slices.IsSortedFunc(set.Instances, byID) {
		return set, errors.New("the instances are not sorted by ID")
	}
	return set, nil
}

func heading(body []byte) string { return fmt.Sprintf("%s %x", cacheFormat, sha256.Sum256(body)) }

// put has snap written, or a newer one.
func (c *cache) put(snap Snapshot) {
	c.mu.Lock()
	c.snap = snap
	c.mu.Unlock()
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// run writes what is put, until no more will come. A burst of changes is one write,
// and the last one is not lost.
func (c *cache) run() {
	timer := time.NewTimer(cacheRefresh)
	defer timer.Stop()
	for something, soon := false, false; ; {
		select {
		case _, more := <-c.news:
			if !more {
				if something {
					c.write()
				}
				return
			}
			if !soon {
				timer.Reset(cacheDelay)
			}
			something, soon = true, true
		case <-timer.C:
			if something {
				something = !c.write()
			}
			timer.Reset(cacheRefresh)
			soon = false
		}
	}
}

// write replaces the file, and reports whether there is no more to write until there is
// news: a set that is not confirmed does not get newer, and the file may since be another
// program's. What fails is tried again at the next change, or refresh.
func (c *cache) write() (settled bool) {
	c.mu.Lock()
	snap := c.snap
	c.mu.Unlock()
	if snap.Err == nil {
		snap.Confirmed = time.Now()
	}
	err := c.replace(snap)
	switch {
	case err != nil && !c.failing:
		c.log.Warn("registry: set cannot be cached", "err", err)
	case err == nil && c.failing:
		c.log.Info("registry: set is cached again")
	}
	c.failing = err != nil
	return err == nil && snap.Err != nil
}

// replace leaves the old file or the new one, whatever happens. An empty set leaves
// none: a program would have nothing to begin with.
func (c *cache) replace(snap Snapshot) error {
	if len(snap.Instances) == 0 {
		if err := os.Remove(c.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	set := cached{Service: c.service, Confirmed: snap.Confirmed.Round(0).UTC()}
	for _, in := range snap.Instances {
		set.Instances = append(set.Instances, cachedInstance{ID: in.ID, Addr: in.Addr, Meta: in.Meta})
	}
	body, err := json.Marshal(set)
	if err != nil {
		return err
	}
	dir, name := filepath.Dir(c.path), filepath.Base(c.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+name+"-*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // nothing, once it is renamed
	_, err = f.Write(append([]byte(heading(body)+"\n"), body...))
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), c.path)
}
