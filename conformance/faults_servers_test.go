package conformance_test

// serverFaults are those that show when servers of the registry fail, or clocks do.
var serverFaults = []fault{
	{"sessions that end with the leader", bubbles, "leader-dies", []edit{
		{"memreg/server.go", "	for ss := range s.sessions {\n		ss.extend()\n	}\n	s.mu.Unlock()\n", "	for ss := range s.sessions {\n		ss.end()\n	}\n	s.mu.Unlock()\n"},
	}},
	{"a renewal that failed is not tried again soon", bubbles, "servers-return", []edit{
		{"lease.go", "			next = time.Now().Add(min(pause.next(), jitter(s.TTL()/8)))\n", "			next = time.Now().Add(pause.next() + 10*s.TTL())\n"},
	}},
	{"pauses that grow without bound", bubbles, "servers-away-at-start", []edit{
		{"backoff.go", "min(max(2*b.d, minBackoff), MaxBackoff)", "max(20*b.d, minBackoff)"},
	}},
	{"a watch that does not outlive a restart", bubbles, "history-is-gone-in-a-restart", []edit{
		{"watch.go", "		if w.troubled(err) {\n", "		if w.troubled(err) || true {\n"},
	}},
	{"no registration after a server was paused", bubbles, "servers-paused", []edit{
		{"session.go", "\t\tk.enqueue(e)\n\t}\n", "\t\tif !e.want.confirmed {\n\t\t\tk.enqueue(e)\n\t\t}\n\t}\n"},
	}},
	{"a paused server that nobody asks", bubbles, "paused-server-is-noticed", []edit{
		{"verify.go", "	if !w.c.opts.NoVerify {\n", "	if false {\n"},
	}},
	{"a client that stays with a member that is cut off", bubbles, "isolated-member", []edit{
		{"memreg/conn.go", "			c.leave(l.member)\n", ""},
	}},
	{"a member that is cut off and serves", bubbles, "lagging-member", []edit{
		{"memreg/conn.go", "		case l.alone:\n			c.leave(l.member)\n			return l.breaks, errNoLeader\n", ""},
	}},
	{"what a restored registry lacks stays away", bubbles, "restored", []edit{
		{"guard.go", "		k.enqueue(e)\n", ""},
	}},
	{"a deadline by the wall clock", bubbles, "owner-learns-that-it-is-cut-off", []edit{
		jump,
		{"lease.go", "	case e.held && time.Now().Before(k.proven):", "	case e.held && time.Now().Round(0).Before(k.proven.Round(0)):"},
	}},
	{"a member without a leader that is asked again and again", etcd, "isolated-at-start", []edit{
		{"etcdreg/conn.go", "f(clientv3.WithRequireLeader(ctx), c)", "f(ctx, c)"},
	}},
	{"a list from a leader that was deposed while it stood still", zookeeper, "leader-stands-still", []edit{
		{"zkreg/zkreg.go", "	parent := b.path(service)\n	if err := c.barrier(ctx, parent); err != nil {\n		return nil, err\n	}\n", "	parent := b.path(service)\n"},
	}},
	{"a list from a member that lags", etcd, "lagging-member", []edit{
		{"etcdreg/watch.go", "	resp, err := c.client.Get(clientv3.WithRequireLeader(ctx), b.prefix(service), clientv3.WithPrefix())\n", "	resp, err := c.client.Get(ctx, b.prefix(service), clientv3.WithPrefix(), clientv3.WithSerializable())\n"},
	}},
	{"a session that no server knows asked for without end", zookeeper, "restored", []edit{
		{"zkreg/conn.go", "			c.change(c.disown)\n", ""},
	}},
}
