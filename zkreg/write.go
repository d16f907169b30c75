package zkreg

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-zookeeper/zk"
)

// batch bounds a Multi: in records for the sake of those that wait behind it, and
// in bytes since a server refuses a request of 1 MB and closes the connection.
var batch = registry.Batch{Records: 100, Bytes: 512 << 10, InFlight: 256}

// maxParent bounds what others keep in the node of a service: a takeover writes it
// again.
const maxParent = 256 << 10

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
	i      int // in the records of the call, or of the batch
	rec    registry.Record
	parent string
	at     parent // the parent, as known before the node was looked at
	path   string
	remove bool // the node that is there
	take   bool // from another session
	create bool
}

// split returns the service and the ID in the path of a node.
func (b *Backend) split(path string) (service, id string) {
	service, id, _ = strings.Cut(strings.TrimPrefix(path, b.opts.Root+"/"), "/")
	return service, id
}

// write makes one transaction of many records, as they most likely are: new ones
// are absent, and those that the session holds are still its own. The records of
// one that fails are read first when they are written again. To create them is to
// put them, and else they are deleted.
func (s *session) write(ctx context.Context, recs []registry.Record, create bool, replan func(context.Context, *plan) (bool, error)) []error {
	plans := s.plans(recs, create)
	s.begin(plans)
	defer s.end(plans)
	errs := make([]error, len(recs))
	s.knowParents(ctx, plans, errs) // once for all batches
	var rest []registry.Record
	var at []int
	for i, rec := range recs {
		if errs[i] == nil {
			rest, at = append(rest, rec), append(at, i)
		}
	}
	for i, err := range batch.Write(rest, func(recs []registry.Record, again bool, errs []error) (refused []int) {
		return s.attempt(ctx, s.plans(recs, create), again, errs, replan)
	}) {
		errs[at[i]] = err
	}
	return errs
}

func (s *session) plans(recs []registry.Record, create bool) []*plan {
	plans := make([]*plan, len(recs))
	for i, rec := range recs {
		p := &plan{i: i, rec: rec, parent: s.b.path(rec.Service), create: create}
		p.path = p.parent + "/" + rec.ID
		plans[i] = p
	}
	return plans
}

// attempt writes plans in one transaction. It reads the nodes first of which it
// cannot guess how they are, and all of them if it is to be done again.
func (s *session) attempt(ctx context.Context, plans []*plan, again bool, errs []error, replan func(context.Context, *plan) (bool, error)) (refused []int) {
	if again {
		for _, p := range plans {
			s.forget(p.parent)
		}
	}
	s.knowParents(ctx, plans, errs) // before the nodes: the version is a condition on them
	guessed := s.guess(plans, again)
	if !again { // else the server has just refused a transaction
		s.catchUp(ctx, plans, guessed, errs)
	}
	done := make([]bool, len(plans))
	_ = parallel(len(plans), func(i int) error {
		if p := plans[i]; errs[i] == nil && !guessed[i] {
			p.remove, p.take = false, false
			done[i], errs[i] = replan(ctx, p)
		}
		return nil
	})
	var rest []*plan
	for i, p := range plans {
		if errs[i] == nil && !done[i] {
			rest = append(rest, p)
		}
	}
	if len(rest) == 0 {
		return nil
	}
	err := s.commit(ctx, rest)
	for _, p := range rest {
		errs[p.i] = err
		if isRefusal(err) {
			refused = append(refused, p.i)
		}
	}
	return refused
}

// guess plans without reading, and says of which plans it can: of none if they are
// written again.
func (s *session) guess(plans []*plan, again bool) []bool {
	_, _, breaks := s.c.state()
	guessed := make([]bool, len(plans))
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, p := range plans {
		p.at = s.parents[p.parent]
		h, held := s.held[p.path]
		p.remove = held
		if !held {
			guessed[i] = p.create && !again
			continue
		}
		if !p.create { // about to be deleted: its absence is no loss
			delete(s.held, p.path)
			s.unlook(p.path)
		}
		guessed[i] = !again && !h.moved && h.breaks == breaks && h.version == p.at.version
	}
	return guessed
}

// catchUp has the server catch up before the nodes of other plans than the guessed ones are
// read: what the session wrote over a connection that broke may have been taken by the
// leader, and not have come to the next server yet.
func (s *session) catchUp(ctx context.Context, plans []*plan, guessed []bool, errs []error) {
	caught := false
	var err error
	for i, p := range plans {
		if guessed[i] || errs[i] != nil {
			continue
		}
		if !caught { // for one path, it is for all
			err = s.c.barrier(ctx, p.parent)
			caught = true
		}
		errs[i] = err
	}
}

// commit writes plans in one transaction.
func (s *session) commit(ctx context.Context, plans []*plan) error {
	_, _, breaks := s.c.state()
	at := map[string]parent{}   // those below which something is removed
	bumped := map[string]int{}  // those that are written, and by which operation
	strict := map[string]bool{} // those whose version is a condition
	for _, p := range plans {
		if p.remove {
			at[p.parent] = p.at
			// Who takes over does so whatever has happened, and does not wait for
			// others that do the same; but data of somebody else's is not to be lost.
			if !p.take || !p.rec.TakeOver || len(p.at.data) > 0 {
				strict[p.parent] = true
			}
		}
		// Registering again takes from a session of its own, which is over: there is
		// nobody to tell, and a thousand that do so at a time must not be in each
		// other's way.
		if p.take && p.rec.TakeOver {
			bumped[p.parent] = 0
		}
	}
	var ops []any
	for path, at := range at {
		if _, take := bumped[path]; !take {
			ops = append(ops, &zk.CheckVersionRequest{Path: path, Version: at.version})
			continue
		}
		if !strict[path] {
			at.version = -1
		}
		bumped[path] = len(ops)
		ops = append(ops, &zk.SetDataRequest{Path: path, Data: at.data, Version: at.version})
	}
	for _, p := range plans {
		if p.remove {
			ops = append(ops, &zk.DeleteRequest{Path: p.path, Version: -1})
		}
		if p.create {
			ops = append(ops, &zk.CreateRequest{Path: p.path, Data: p.rec.Value, Acl: zk.WorldACL(zk.PermAll), Flags: zk.FlagEphemeral})
		}
	}
	res, err := call(ctx, s.c, func() ([]zk.MultiResponse, error) { return s.c.zk.Multi(ops...) })
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for path, i := range bumped {
		known := s.parents[path]
		known.version = res[i].Stat.Version
		s.parents[path] = known
	}
	for _, p := range plans {
		if i, ok := bumped[p.parent]; ok {
			p.at.version = res[i].Stat.Version
		}
		if p.create {
			s.hold(p, breaks)
		}
	}
	return nil
}

// hold notes that the node of p is ours, as of the parent's version. s.mu is held.
func (s *session) hold(p *plan, breaks int) {
	s.held[p.path] = holding{version: p.at.version, breaks: breaks}
	delete(s.urgent, p.path) // it was our own writing, or is looked at all the same
	s.lookAt(p.path)
}

// knowParents reads the parents of plans that are not known.
func (s *session) knowParents(ctx context.Context, plans []*plan, errs []error) {
	first := map[string]*plan{}
	var paths []string
	for _, p := range plans {
		if first[p.parent] == nil || p.create {
			if first[p.parent] == nil {
				paths = append(paths, p.parent)
			}
			first[p.parent] = p
		}
	}
	_ = parallel(len(paths), func(i int) error {
		p := first[paths[i]]
		errs[p.i] = s.know(ctx, p)
		return nil
	})
	for _, p := range plans {
		errs[p.i] = errs[first[p.parent].i]
	}
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
	switch {
	case err != nil:
		return err
	case n == nil && p.create:
		return fmt.Errorf("%s was deleted as soon as it was made", p.parent)
	case n == nil:
		return nil // nothing to delete
	case len(n.value) > maxParent:
		return fmt.Errorf("%w: node %s has %d bytes of data of somebody else's, and may have %d", registry.ErrTooLarge, p.parent, len(n.value), maxParent)
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

// mkdir makes path, and what is missing above it: only that, since a client may
// have no right to create where everything is there already.
func (s *session) mkdir(ctx context.Context, path string) error {
	create := func() error {
		_, err := call(ctx, s.c, func() (string, error) {
			return s.c.zk.Create(path, nil, 0, zk.WorldACL(zk.PermAll))
		})
		if errors.Is(err, zk.ErrNodeExists) {
			return nil
		}
		return err
	}
	err := create()
	if up := strings.LastIndexByte(path, '/'); errors.Is(err, zk.ErrNoNode) && up > 0 {
		if err = s.mkdir(ctx, path[:up]); err == nil {
			err = create()
		}
	}
	return err
}

// begin notes that the nodes of plans are about to be written. Until that has ended their
// loss is no news.
func (s *session) begin(plans []*plan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range plans {
		s.writing[p.path] = true
	}
}

func (s *session) end(plans []*plan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range plans {
		delete(s.writing, p.path)
	}
	s.wrote = time.Now()
	s.nudge()
}
