package chaos

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/go-rollcall/registry"
)

// A seen is a record as a reader sees it.
type seen struct{ reg, ver int }

// A view is a watch as one reader sees it, with what must hold of it at all times.
type view struct {
	c       *client
	service string

	mu    sync.Mutex
	first bool
	last  registry.Snapshot
	set   map[string]seen
	ever  map[seen]bool // with version 0: registrations that it has shown
}

// watch reads the watch of a service until the Registry is closed.
func (c *client) watch(service string) {
	v := &view{c: c, service: service, first: true, ever: map[seen]bool{}}
	c.views = append(c.views, v)
	reg := c.registry
	c.readers.Go(func() {
		for snap, err := range reg.Watch(context.Background(), service) {
			if err == nil {
				v.take(snap, c.r.now())
			} else if !errors.Is(err, registry.ErrClosed) {
				c.r.violated("client %d: its watch of %s has ended: %v", c.n, service, err)
			}
		}
	})
}

func (v *view) take(snap registry.Snapshot, now time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	r, who := v.c.r, "client "+strconv.Itoa(v.c.n)+", watching "+v.service
	set, err := parse(snap.Instances)
	if err != nil {
		r.violated("%s: %v", who, err)
		return
	}
	r.counts.add("snapshots", 1)
	if snap.Err != nil {
		r.counts.add("snapshots-unconfirmed", 1)
	}
	if !v.first {
		switch {
		case len(set) == 0 && len(v.set) > 0 && snap.Err == nil && r.losses.during(now, now) == ^uint64(0):
			r.counts.add("emptied-by-servers", 1) // they may have ended all sessions, once they were back
		case len(set) == 0 && len(v.set) > 0 && r.assembled.Load():
			r.violated("%s: the set was emptied (%v) while clients that never withdraw are registered; before: %v (%v)", who, snap.Err, v.set, v.last.Err)
		case snap.Confirmed.Before(v.last.Confirmed):
			r.violated("%s: Confirmed went back from %v to %v", who, v.last.Confirmed, snap.Confirmed)
		}
	}
	for id, s := range set {
		old, had := v.set[id]
		reg := r.regs.get(s.reg)
		switch over := time.Duration(reg.over.Load()); {
		case had && old.reg == s.reg && old.ver > s.ver && reg.client != v.c.n:
			r.counts.add("older-metadata-for-others", 1) // promised is that this is not so for the owner
		case had && old.reg == s.reg && old.ver > s.ver:
			r.violated("%s: metadata of %s r%d went back from v%d to v%d", who, id, s.reg, old.ver, s.ver)
		case (!had || old.reg != s.reg) && v.ever[seen{s.reg, 0}] && over > 0 && over+r.w.ttl < now:
			r.violated("%s: %s r%d is back, %v after it was withdrawn or superseded for certain", who, id, s.reg, now-over)
		}
		v.ever[seen{s.reg, 0}] = true
	}
	v.first, v.last, v.set = false, snap, set
}

// forget drops the registrations that are over, so that an hour does not gather them.
func (v *view) forget() {
	v.mu.Lock()
	defer v.mu.Unlock()
	clear(v.ever)
	for _, s := range v.set {
		v.ever[seen{s.reg, 0}] = true
	}
}

var errUnsorted = errors.New("the instances are not sorted by ID, each one once")

// parse reads a set whose records are all written by clients of the run.
func parse(list []registry.Instance) (map[string]seen, error) {
	set := make(map[string]seen, len(list))
	last := ""
	for _, in := range list {
		if in.ID <= last {
			return nil, errUnsorted
		}
		last = in.ID
		reg, err1 := strconv.Atoi(in.Meta["r"])
		ver, err2 := strconv.Atoi(in.Meta["v"])
		if err := errors.Join(err1, err2); err != nil || in.Addr != "127.0.0.1:8897" {
			return nil, errors.Join(errors.New("a record that no client wrote: "+in.ID), err)
		}
		set[in.ID] = seen{reg, ver}
	}
	return set, nil
}

// looked notes what a lookup has found of each record of service.
func (r *run) looked(client int, service string, list []registry.Instance, call, ret time.Duration) {
	set, err := parse(list)
	if err != nil {
		r.violated("client %d: lookup of %s: %v", client, service, err)
		return
	}
	for k, at := range r.keys {
		if at.service == service {
			s := set[at.id] // nobody, if it is not there
			r.history.add(&op{kind: opLookup, key: k, client: client, seen: s.reg, ver: s.ver, call: call, ret: ret})
			delete(set, at.id)
		}
	}
	for id := range set {
		r.violated("client %d: lookup of %s: there is %q, which nobody has ever registered", client, service, id)
	}
}
