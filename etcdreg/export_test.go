package etcdreg

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Stream begins a watch of service without reading it first.
func Stream(b *Backend, ctx context.Context, service string) error {
	c, err := b.connect(ctx)
	if err != nil {
		return err
	}
	return b.stream(ctx, c, b.prefix(service), clientv3.GetPrefixRangeEnd(b.prefix(service)), 1, func(clientv3.WatchResponse) {}, nil)
}
