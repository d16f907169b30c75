package zkreg

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/go-rollcall/registry"
	"github.com/go-zookeeper/zk"
)

// A Multi is all or nothing, and one request. Bounded in records for the sake of
// those that wait behind it, and in bytes since a server refuses a request of
// 1 MB and closes the connection.
const (
	maxMulti      = 100
	maxMultiBytes = 512 << 10
)

// A parent is the node of a service. Each takeover writes its data again, as it
// was, which moves its version: so whoever writes under the condition of a
// version knows that since then nobody has taken any of its nodes. A node's own
// version cannot tell, as the taker's node begins at the same one.
type parent struct {
	known   bool
	data    []byte
	version int32
}

// A plan is how one record is to be written.
type plan struct {
	i      int // in the records of the call
	rec    registry.Record
	parent string
	path   string
	remove bool // the node that is there
	take   bool // from another session
	create bool
}

func (p *plan) size() int { return len(p.rec.Value) + 3*len(p.path) + 100 }

// split returns the service and the ID in the path of a node.
func (b *Backend) split(path string) (service, id string) {
	service, id, _ = strings.Cut(strings.TrimPrefix(path, b.opts.Root+"/"), "/")
	return service, id
}

// write makes one transaction of many records, as they most likely are: new ones
// are absent, and those that the session holds are still its own. The records of
// one that fails are read, planned anew, and written again, together if that
// works and else each by itself, so that none fails on account of another.
func (s *session) write(ctx context.Context, recs []registry.Record, replan func(context.Context, *plan) (bool, error)) []error {
	s.setBusy(true)
	defer s.setBusy(false)
	errs := make([]error, len(recs))
	var likely, unsure []*plan
	for i, rec := range recs {
		p := &plan{i: i, rec: rec, parent: s.b.path(rec.Service), create: rec.Value != nil}
		p.path = p.parent + "/" + rec.ID
		if errs[i] = s.know(ctx, p); errs[i] != nil {
			continue
		}
		if s.guess(p) {
			likely = append(likely, p)
		} else {
			unsure = append(unsure, p)
		}
	}
	groups := group(likely)
	failed := make([]bool, len(groups))
	_ = parallel(len(groups), func(i int) error {
		err := s.commit(ctx, groups[i])
		failed[i] = err != nil
		for _, p := range groups[i] {
			errs[p.i] = err
		}
		return nil
	})
	for i, g := range groups {
		if failed[i] && s.readable(errs[g[0].i]) {
			unsure = append(unsure, g...)
		}
	}
	if len(unsure) == 0 {
		return errs
	}
	for _, p := range unsure {
		s.forget(p.parent)
	}
	for _, p := range unsure {
		errs[p.i] = s.know(ctx, p)
	}
	again := s.replan(ctx, unsure, errs, replan)
	for _, g := range group(again) {
		err := s.commit(ctx, g)
		for _, p := range g {
			errs[p.i] = err
			if err != nil && len(g) > 1 && s.readable(err) {
				errs[p.i] = s.commit(ctx, []*plan{p})
			}
			if isNode(errs[p.i]) {
				errs[p.i] = fmt.Errorf("%w (%w)", errMoved, errs[p.i])
			}
		}
	}
	return errs
}

// replan reads the nodes of plans, and returns those that are to be written.
func (s *session) replan(ctx context.Context, plans []*plan, errs []error, replan func(context.Context, *plan) (bool, error)) []*plan {
	done := make([]bool, len(plans))
	_ = parallel(len(plans), func(i int) error {
		p := plans[i]
		p.remove, p.take = false, false
		if errs[p.i] == nil {
			done[i], errs[p.i] = replan(ctx, p)
		}
		return nil
	})
	var again []*plan
	for i, p := range plans {
		if errs[p.i] == nil && !done[i] {
			again = append(again, p)
		}
	}
	return again
}

// readable reports whether a look at the nodes may tell why a write failed.
func (s *session) readable(err error) bool {
	return isNode(err) || errors.Is(err, registry.ErrDenied)
}

// group cuts plans into transactions.
func group(plans []*plan) [][]*plan {
	var groups [][]*plan
	size := 0
	for _, p := range plans {
		n := len(groups)
		if n == 0 || len(groups[n-1]) == maxMulti || size+p.size() > maxMultiBytes {
			groups = append(groups, nil)
			n, size = n+1, 0
		}
		groups[n-1] = append(groups[n-1], p)
		size += p.size()
	}
	return groups
}

// guess plans without reading, and reports whether it can.
func (s *session) guess(p *plan) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	version, held := s.held[p.path]
	p.remove = held
	switch {
	case !held:
		return p.create
	case !p.create: // about to be deleted: its absence is no loss
		delete(s.held, p.path)
	}
	return s.parents[p.parent].version == version
}

// commit writes plans in one transaction.
func (s *session) commit(ctx context.Context, plans []*plan) error {
	var ops []any
	seen := map[string]bool{}
	s.mu.Lock()
	for _, p := range plans {
		if !p.remove || seen[p.parent] {
			continue
		}
		seen[p.parent] = true
		at := s.parents[p.parent]
		var take bool
		for _, q := range plans {
			take = take || q.take && q.parent == p.parent
		}
		if take {
			ops = append(ops, &zk.SetDataRequest{Path: p.parent, Data: at.data, Version: at.version})
		} else {
			ops = append(ops, &zk.CheckVersionRequest{Path: p.parent, Version: at.version})
		}
	}
	s.mu.Unlock()
	for _, p := range plans {
		if p.remove {
			ops = append(ops, &zk.DeleteRequest{Path: p.path, Version: -1})
		}
		if p.create {
			ops = append(ops, &zk.CreateRequest{Path: p.path, Data: p.rec.Value, Acl: zk.WorldACL(zk.PermAll), Flags: zk.FlagEphemeral})
		}
	}
	_, err := call(ctx, s.c, func() ([]zk.MultiResponse, error) { return s.c.zk.Multi(ops...) })
	if err != nil {
		return err
	}
	s.mu.Lock()
	taken := map[string]bool{}
	for _, p := range plans {
		if p.take && !taken[p.parent] {
			taken[p.parent] = true
			at := s.parents[p.parent]
			at.version++
			s.parents[p.parent] = at
		}
	}
	s.mu.Unlock()
	for _, p := range plans {
		if p.create {
			s.hold(p)
		}
	}
	return nil
}

// hold notes that the node of p is ours, as of the parent's version.
func (s *session) hold(p *plan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[p.path] = s.parents[p.parent].version
	s.checkLocked(p.path)
}

// know reads the parent of p, unless it is known, and makes it if it is to hold
// a record.
func (s *session) know(ctx context.Context, p *plan) error {
	s.mu.Lock()
	at := s.parents[p.parent]
	s.mu.Unlock()
	if at.known {
		return nil
	}
	if s.b.reserved(p.rec.Service) {
		return fmt.Errorf("%w service %q: ZooKeeper keeps that name for itself at the top of its tree: use a root, as in zk://host/root", registry.ErrInvalid, p.rec.Service)
	}
	n, err := s.c.get(ctx, p.parent)
	if err == nil && n == nil && p.create {
		if err = s.mkdir(ctx, p.parent); err == nil {
			n, err = s.c.get(ctx, p.parent)
		}
	}
	if err != nil {
		return err
	}
	if n == nil {
		if p.create {
			return fmt.Errorf("%s was deleted as soon as it was made", p.parent)
		}
		return nil // nothing to delete
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parents[p.parent] = parent{true, n.value, n.stat.Version}
	return nil
}

func (s *session) forget(parent string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.parents, parent)
}

// mkdir makes path and what is missing above it.
func (s *session) mkdir(ctx context.Context, path string) error {
	for i := 1; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			continue
		}
		_, err := call(ctx, s.c, func() (string, error) {
			return s.c.zk.Create(path[:i], nil, 0, zk.WorldACL(zk.PermAll))
		})
		if err != nil && !errors.Is(err, zk.ErrNodeExists) {
			return err
		}
	}
	return nil
}

func (s *session) setBusy(busy bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = busy
	if !busy {
		s.nudge()
	}
}
