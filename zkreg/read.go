package zkreg

import (
	"context"
	"errors"
	"slices"

	"github.com/go-rollcall/registry"
	"github.com/go-zookeeper/zk"
)

func (c *conn) sync(ctx context.Context, path string) error {
	_, err := call(ctx, c, func() (string, error) { return c.zk.Sync(path) })
	return err
}

// barrier has what c reads afterwards be no older than what was confirmed to anybody
// before. It is a transaction, which changes nothing, as a majority agrees on those: a
// leader that stood still answers a Sync by itself, and with what it knows, before it
// learns that another leads.
func (c *conn) barrier(ctx context.Context, path string) error {
	_, err := call(ctx, c, func() ([]zk.MultiResponse, error) {
		return c.zk.Multi(&zk.CheckVersionRequest{Path: path, Version: -1})
	})
	if errors.Is(err, zk.ErrNoNode) || errors.Is(err, registry.ErrDenied) {
		return nil // a majority agrees on that, too
	}
	return err
}

// children returns the names below path, none if there is no such node.
func (c *conn) children(ctx context.Context, path string) ([]string, error) {
	l, err := c.list(ctx, path, func() ([]string, *zk.Stat, error) { return c.zk.Children(path) })
	return l.names, err
}

type listing struct {
	names []string
	stat  *zk.Stat // nil: no such node
}

func (c *conn) list(ctx context.Context, path string, f func() ([]string, *zk.Stat, error)) (listing, error) {
	l, err := call(ctx, c, func() (l listing, err error) {
		l.names, l.stat, err = f()
		return l, err
	})
	if errors.Is(err, zk.ErrNoNode) {
		return listing{}, nil
	}
	return l, err
}

// stat returns nil if there is no node at path.
func (c *conn) stat(ctx context.Context, path string) (*zk.Stat, error) {
	return call(ctx, c, func() (*zk.Stat, error) {
		ok, st, err := c.zk.Exists(path)
		if !ok || err != nil {
			st = nil
		}
		return st, err
	})
}

// records reads what is below parent, the node of the service.
func (c *conn) records(ctx context.Context, parent, service string) ([]registry.Record, error) {
	for tries := 0; ; tries++ {
		names, err := c.children(ctx, parent)
		if err != nil {
			return nil, err
		}
		recs := make([]registry.Record, len(names))
		err = parallel(len(names), func(i int) error {
			n, err := c.get(ctx, parent+"/"+names[i])
			if n != nil {
				recs[i] = registry.Record{Service: service, ID: names[i], Value: n.value}
			}
			return err
		})
		// A node that went after its name was read is no record.
		recs = slices.DeleteFunc(recs, func(r registry.Record) bool { return r.ID == "" })
		if err != nil || len(recs) == len(names) || !again(len(recs), tries) {
			return recs, err
		}
	}
}

// again reports whether the names are to be listed once more, where nodes went after they
// were and left nodes remain: it may have been to make room for others, and a service that
// never was without an instance is not to look so. Of many that are left, one is.
func again(left, tries int) bool { return left == 0 || left < 8 && tries < 3 }

// A node is what get reads.
type node struct {
	value []byte
	stat  *zk.Stat
}

// get returns nil if there is no node at path.
func (c *conn) get(ctx context.Context, path string) (*node, error) {
	n, err := call(ctx, c, func() (*node, error) {
		v, st, err := c.zk.Get(path)
		return &node{v, st}, err
	})
	if errors.Is(err, zk.ErrNoNode) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return n, nil
}
