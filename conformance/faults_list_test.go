package conformance_test

// faults are what goes wrong in registries, and the case that is meant for each.
var faults = []fault{
	// In the root package, where every backend would have it.
	{"no registration after the session expired", bubbles, "session-killed", []edit{
		{"session.go", "\t\tk.enqueue(e)\n\t}\n", "\t\tif !e.want.confirmed {\n\t\t\tk.enqueue(e)\n\t\t}\n\t}\n"},
	}},
	{"Register returns before anything is written", bubbles, "register-is-visible", []edit{
		{"registration.go", "	if err := k.wait(ctx, e, w); err != nil {\n		k.withdraw", "	if _, err := w, error(nil); err != nil {\n		k.withdraw"},
	}},
	{"a break that readers are told of at once", bubbles, "short-break", []edit{
		{"watch.go", "w.timers.later(&w.shown, w.c.opts.TTL,", "w.timers.later(&w.shown, 1,"},
	}},
	{"an owner that was frozen goes on with a session that is over", bubbles, "frozen-owner", []edit{
		{"lease.go", "		case errors.Is(err, ErrSessionLost):\n			cancel(err)\n			return\n		default:", "		case errors.Is(err, ErrSessionLost):\n			return\n		default:"},
		{"guard.go", "		if errors.Is(err, ErrSessionLost) {\n			cancel(err)\n			return\n		}\n", "		if errors.Is(err, ErrSessionLost) {\n			return\n		}\n"},
	}},
	{"a watch that gives up in a long outage", bubbles, "long-outage", []edit{
		{"watch.go", "		if w.troubled(err) {\n", "		if w.troubled(err) || pause.d == MaxBackoff {\n"},
	}},
	{"a TTL that nobody is told", bubbles, "effective-ttl", []edit{
		{"keeper.go", "left: map[key]leftover{}, ttl: c.opts.TTL}", "left: map[key]leftover{}}"},
		{"session.go", "	k.ttl, k.proven = s.TTL(), sent.Add(s.TTL())\n", "	k.proven = sent.Add(s.TTL())\n"},
	}},
	{"the older registration of the same Registry is not told", bubbles, "newest-wins-in-one-registry", []edit{
		{"registration.go", "		e.want.end(ErrSuperseded)\n", ""},
	}},
	{"a withdrawal that failed is taken back", bubbles, "deregister-in-outage", []edit{
		{"registration.go", "	if err != nil && e != nil {\n		r.k.giveUp()\n	}\n", "	if err != nil {\n		r.k.mu.Lock()\n		e.want = r\n		r.k.mu.Unlock()\n	}\n"},
	}},
	{"Close says that all is withdrawn, whatever the registry said", bubbles, "close-in-outage", []edit{
		{"session.go", "			if e.there && unended != nil {\n", "			if false {\n"},
	}},
	{"a withdrawal in vain is forgotten with its session", bubbles, "close-after-an-outage", []edit{
		{"keeper.go", "		why = left.why\n", "		_ = left\n"},
	}},
	{"a bad name is sent", bubbles, "bad-input", []edit{
		{"core.go", "	if err := checkName(\"service\", service, false); err != nil {\n		return nil, c.wrap(\"lookup\"", "	if err := error(nil); err != nil {\n		return nil, c.wrap(\"lookup\""},
	}},
	{"a removal that the snapshot does not follow", bubbles, "converges", []edit{
		{"set.go", "	if _, shown := search(w.snap.Instances, id); shown {\n", "	if _, shown := search(w.snap.Instances, id); shown && false {\n"},
	}},
	{"registration again with the metadata of old", bubbles, "session-killed", []edit{
		{"registration.go", "	value     []byte // as announced", "	old []byte\n	value     []byte // as announced"},
		{"registration.go", "	r.value = value\n", "	r.old = r.value\n	r.value = value\n"},
		{"session.go", "		if e.want.confirmed {\n			again++\n", "		if e.want.confirmed {\n			again++\n			if e.want.old != nil {\n				e.want.value = e.want.old\n			}\n"},
	}},
	{"what was deregistered comes back with the next session", bubbles, "withdrawn-stays-withdrawn", []edit{
		{"entry.go", "		if r == nil && e.want == nil && gen == e.gen { // else somebody waits for a newer withdrawal\n			delete(k.entries, e.key)\n		}\n", ""},
		{"entry.go", "	want    *registration // nil: withdrawn\n", "	want    *registration // nil: withdrawn\n	was     *registration\n"},
		{"registration.go", "		e.want, e.held = nil, false\n", "		e.want, e.was, e.held = nil, r, false\n"},
		{"session.go", "		e.pause.reset()\n", "		e.pause.reset()\n		if e.want == nil {\n			e.want = e.was\n		}\n"},
	}},
	{"every reconnect deletes and creates", bubbles, "one-lost-renewal", []edit{
		{"lease.go", "		case errors.Is(err, ErrSessionLost):\n			cancel(err)\n			return\n		default:", "		case err != nil || errors.Is(err, ErrSessionLost):\n			cancel(err)\n			return\n		default:"},
	}},
	{"the first failure of Register is final", bubbles, "away-at-start", []edit{
		{"session.go", "	if permanent(err) {\n", "	if true {\n"},
	}},
	{"a lost reply is taken for a failure", bubbles, "lost-reply", []edit{
		{"entry.go", "	case permanent(err):\n		e.tell", "	case err != nil:\n		e.tell"},
	}},
	{"the older registration takes over again", bubbles, "superseded-while-away", []edit{
		{"keeper.go", "e.want.owner, !e.want.confirmed", "e.want.owner, true"},
	}},
	{"a record that others deleted stays away", bubbles, "deleted-by-others", []edit{
		{"guard.go", "		k.enqueue(e)\n", ""},
	}},
	{"an owner that is cut off is not told", bubbles, "owner-learns-that-it-is-cut-off", []edit{
		{"lease.go", "	case e.held && time.Now().Before(k.proven):", "	case e.held:"},
		{"lease.go", "	case e.held:\n		return fmt", "	case false:\n		return fmt"},
	}},
	{"renewals are as rare as can be", bubbles, "one-lost-renewal", []edit{
		{"lease.go", "	next := opened.Add(s.TTL() / 3)", "	next := opened.Add(s.TTL() * 9 / 10)"},
		{"lease.go", "			next = sent.Add(s.TTL() / 3)", "			next = sent.Add(s.TTL() * 9 / 10)"},
	}},
	{"Deregister of one ends its siblings", bubbles, "siblings", []edit{
		{"session.go", "		if errors.Is(why, errAbandoned) {\n			continue\n		}\n", ""},
		{"registration.go", "	if err != nil && e != nil {\n		r.k.giveUp()\n	}\n", "	r.k.mu.Lock()\n	r.k.abandon(errAbandoned)\n	r.k.mu.Unlock()\n"},
	}},
	{"pauses without jitter", bubbles, "many-come-back-together", []edit{
		{"backoff.go", "{ return d/2 + rand.N(d/2) }", "{ _ = rand.N(d); return d }"},
	}},
	{"what was given up goes on being renewed", bubbles, "failed-register-leaves-nothing", []edit{
		{"registration.go", "		k.withdraw(r)\n		k.giveUp()\n", ""},
	}},
	{"Close leaves the session to run out", bubbles, "close", []edit{
		{"session.go", "		err = s.Close(end)\n", "		err = end.Err()\n"},
	}},
	{"a goroutine left behind by Close", realTime, "no-leaks", []edit{
		{"watch.go", "	defer w.cancel(nil)\n", "	defer w.cancel(nil)\n	go func() { select {} }()\n"},
	}},
	{"a cancelled call waits on", bubbles, "cancelled-calls-return", []edit{
		{"keeper.go", "	case <-ctx.Done():\n	case <-k.c.ctx.Done():\n	}\n	select { // an", "	case <-k.c.ctx.Done():\n	}\n	select { // an"},
	}},
	{"a busy loop while the registry is down", realTime, "outage-is-quiet", []edit{
		{"watch.go", "		sleep(w.ctx, d)\n", "		_ = d\n"},
	}},
	{"a watch that stops for good after one error", bubbles, "changes-while-cut-off", []edit{
		{"watch.go", "		if w.troubled(err) {\n", "		if w.troubled(err) || true {\n"},
	}},
	{"an empty set shown in an outage", bubbles, "outage", []edit{
		{"watch.go", "		w.trouble = err\n", "		w.trouble = err\n		for id := range w.set {\n			w.remove(id)\n		}\n"},
	}},
	{"an outage that is not shown", bubbles, "outage", []edit{
		{"watch.go", "func() { w.show(w.last) })", "func() {})"},
	}},
	{"not yet known shown as empty", bubbles, "first-snapshot-is-whole", []edit{
		{"watch.go", "stale: map[string]bool{}}", "stale: map[string]bool{}, known: true, rev: 1}"},
	}},
	{"the last instance's departure not shown", bubbles, "deregister", []edit{
		{"set.go", "	for _, id := range gone {\n		changed = w.remove(id) || changed\n", "	for _, id := range gone {\n		if len(w.set) == 1 {\n			break\n		}\n		changed = w.remove(id) || changed\n"},
	}},
	{"one undecodable record fails the list", bubbles, "undecodable", []edit{
		{"core.go", "err == nil {\n			found = append(found, in)\n		}", "err != nil {\n			return nil, err\n		} else {\n			found = append(found, in)\n		}"},
	}},
	{"an undecodable record hides the others", bubbles, "undecodable", []edit{
		{"set.go", "	if !s.fits(len(recs)) {\n		return\n	}\n", "	if !s.fits(len(recs)) {\n		return\n	}\n	for _, rec := range recs {\n		if _, err := decode(w.service, rec.ID, rec.Value); err != nil {\n			return\n		}\n	}\n"},
	}},
	{"a slow reader holds up the others", realTime, "slow-reader", []edit{
		{"core.go", "			if !yield(snap, nil) {\n				return\n			}\n", "			w.mu.Lock()\n			ok := yield(snap, nil)\n			w.mu.Unlock()\n			if !ok {\n				return\n			}\n"},
	}},
	{"a full listing every TTL", bubbles, "quiet-watch", []edit{
		{"verify.go", "			if same || moved || doubts", "			if moved || doubts"},
	}},
	{"a call in flight that nobody can cancel", bubbles, "cancelled-calls-return", []edit{
		{"watch.go", "		case <-changed:\n		case <-ctx.Done():\n", "		case <-changed:\n"},
	}},
	{"a refusal that readers are not told of", bubbles, "denied", []edit{
		{"watch.go", "	case permanent(err) || errors.Is", "	case errors.Is"},
		{"watch.go", "	if kind := refusalOf(err); w.trouble == nil || kind != nil && kind != refusalOf(w.trouble) {", "	if w.trouble == nil && !permanent(err) {"},
	}},
	{"an empty set believed while the registry is away again", bubbles, "cut-off-again", []edit{
		{"watch.go", "	w.timers.stop(&w.emptied) // what", "	// what"},
	}},
	{"an empty set after an outage taken at its word", bubbles, "everybody-was-cut-off", []edit{
		{"set.go", "	if len(w.set) > w.skipped && w.away() &&", "	if false &&"},
	}},
	{"a renewal that removes for a moment", bubbles, "dead-owner", []edit{
		{"memreg/session.go", "		ss.extend()\n", "		ss.extend()\n		for r := range ss.records {\n			ss.conn.store.unset(r[0], r[1])\n			time.AfterFunc(time.Millisecond, func() { signal(ss.wake) })\n		}\n"},
	}},
	{"a watch that nobody verifies", bubbles, "half-open", []edit{
		{"verify.go", "	if !w.c.opts.NoVerify {\n", "	if false {\n"},
	}},
	{"a watch on the backend for each reader", bubbles, "shared-watch", []edit{
		{"core.go", "		c.watches[service] = w\n", ""},
	}},
	{"a record that is too large is sent", bubbles, "too-large", []edit{
		{"record.go", "	if len(value) > MaxRecord {\n		return nil, fmt", "	if false {\n		return nil, fmt"},
	}},
	{"a refusal taken for an empty set", bubbles, "denied-from-the-start", []edit{
		{"watch.go", "	case !w.known && permanent(err):\n		w.final = err\n", "	case !w.known && permanent(err):\n		w.known = true\n"},
	}},

	// In the time server and its client, and what they stand on.
	{"a client that asks one server only", bubbles, "server-dies", []edit{
		{"timesvc/client.go", "		if ctx.Err() != nil {\n			return a, c.fail(context.Cause(ctx), a.Failed)\n		}\n", "		return a, c.fail(nil, a.Failed)\n"},
	}},
	{"a view that is empty while the registry is away", bubbles, "registry-gone-servers-live", []edit{
		{"follow.go", "	v.now.Store(&snap)\n	if v.changed", "	if snap.Err != nil {\n		snap.Instances = nil\n	}\n	v.now.Store(&snap)\n	if v.changed"},
	}},
	{"a server that ends without a word to the registry", bubbles, "drain", []edit{
		{"timesvc/server.go", "		s.withdraw(accepting, reg, log)\n		s.linger(accepting)\n", "		s.linger(accepting)\n"},
	}},

	// In a backend.
	{"a parent deleted instead of the node", bubbles, "siblings", []edit{
		{"memreg/store.go", "		s.unset(path, id)\n	}\n}\n\nfunc signal", "		for id := range s.at(path).records {\n			delete(ss.records, [2]string{path, id})\n			s.unset(path, id)\n		}\n	}\n}\n\nfunc signal"},
	}},
	{"a leftover node adopted, which then goes with its session", bubbles, "fast-restart", []edit{
		{"memreg/store.go", "	ss.records[[2]string{path, rec.ID}] = true\n", "	if exists && old.owner != nil {\n		ss = old.owner\n	}\n	ss.records[[2]string{path, rec.ID}] = true\n"},
	}},
	{"a leftover node refused until it expires", bubbles, "fast-restart", []edit{
		{"memreg/store.go", "	ss.records[[2]string{path, rec.ID}] = true\n", "	if exists && old.owner != ss {\n		return fmt.Errorf(\"node exists\")\n	}\n	ss.records[[2]string{path, rec.ID}] = true\n"},
	}},
	{"a change lost between list and watch", bubbles, "list-and-watch", []edit{
		{"memreg/conn.go", "		w = c.store.watch(path)\n", ""},
		{"memreg/conn.go", "	if w != nil {\n		defer c.store.unwatch(path, w)\n	}\n", "	time.Sleep(time.Millisecond)\n	c.store.mu.Lock()\n	w = c.store.watch(path)\n	c.store.mu.Unlock()\n"},
	}},
	{"names read first, and then what has become of them", bubbles, "never-empty-in-between", []edit{
		{"memreg/conn.go", "	return recs, err\n}\n\n// Services", "	time.Sleep(time.Millisecond)\n	there := map[string]bool{}\n	_ = c.call(ctx, func() (int, error) {\n		for _, rec := range c.store.list(c.path(service)) {\n			there[rec.ID] = true\n		}\n		return 0, nil\n	})\n	var left []registry.Record\n	for _, rec := range recs {\n		if there[rec.ID] {\n			left = append(left, rec)\n		}\n	}\n	return left, err\n}\n\n// Services"},
	}},
	{"only the first of several changes delivered", bubbles, "update", []edit{
		{"memreg/conn.go", "		sink.Apply(put, gone, version)\n", "		sink.Apply(put, gone, version)\n		<-ctx.Done()\n"},
	}},

	// In the reference backend, on a real server.
	{"a parent deleted instead of the node", zookeeper, "deregister", []edit{
		{"zkreg/write.go", "&zk.DeleteRequest{Path: p.path,", "&zk.DeleteRequest{Path: p.parent,"},
	}},
	{"a leftover node adopted, which then goes with its session", zookeeper, "fast-restart", []edit{
		{"zkreg/session.go", "	case ours && old.stat.Version == 0 && string(old.value) == string(rec.Value):\n", "	case ours && old.stat.Version == 0 && string(old.value) == string(rec.Value), rec.TakeOver:\n"},
	}},
	{"a leftover node refused until it expires", zookeeper, "fast-restart", []edit{
		{"zkreg/session.go", "	case old.stat.NumChildren > 0:\n", "	case !ours:\n		return false, fmt.Errorf(\"exists\")\n	case old.stat.NumChildren > 0:\n"},
	}},
	{"takeovers that delete and then create", zookeeper, "takeover-of-many", []edit{
		{"zkreg/write.go", "	for _, p := range plans {\n		if p.remove {\n			ops = append(ops, &zk.DeleteRequest{Path: p.path, Version: -1})\n		}\n", "	for _, p := range plans {\n		if p.remove {\n			if _, err := s.c.zk.Multi(&zk.DeleteRequest{Path: p.path, Version: -1}); err != nil {\n				return err\n			}\n		}\n"},
	}},
	{"one of two first registrations fails", zookeeper, "first-registrations-at-once", []edit{
		{"zkreg/write.go", "		if errors.Is(err, zk.ErrNodeExists) {\n			return nil\n		}\n", "		if errors.Is(err, zk.ErrNodeExists) {\n			return fmt.Errorf(\"%w: %v\", registry.ErrInvalid, err)\n		}\n"},
	}},
	{"a parent that vanishes is not made again", zookeeper, "parent-vanishes", []edit{
		{"zkreg/write.go", "		for _, p := range plans {\n			s.forget(p.parent)\n		}\n", ""},
	}},
	{"an update that deletes and then creates", zookeeper, "update", []edit{
		{"zkreg/write.go", "		if p.create {\n			ops = append(ops,", "		if p.create && p.remove {\n			if _, err := s.c.zk.Multi(ops...); err != nil {\n				return err\n			}\n			ops = nil\n		}\n		if p.create {\n			ops = append(ops,"},
	}},
	{"a watch on the names that is set once", zookeeper, "trace", []edit{
		{"zkreg/watches.go", "	w.mu.Lock()\n	defer w.mu.Unlock()\n	delete(w.armed, ev.Path)\n", "	w.mu.Lock()\n	defer w.mu.Unlock()\n	if ev.Type != zk.EventNodeChildrenChanged {\n		delete(w.armed, ev.Path)\n	}\n"},
	}},
	{"no watch on the nodes", zookeeper, "update", []edit{
		{"zkreg/watch.go", "		if set {\n			v, _, _, err = c.zk.GetW(path)\n", "		if false {\n			v, _, _, err = c.zk.GetW(path)\n"},
	}},
	{"what the session holds is not looked at while it writes", zookeeper, "deleted-while-others-change", []edit{
		{"zkreg/session.go", "	take(s.urgent, inFlight)\n	writing := len(s.writing) > 0\n", "	writing := len(s.writing) > 0\n	if writing || time.Since(s.wrote) < quiet {\n		return nil\n	}\n	take(s.urgent, inFlight)\n"},
	}},
	{"no watch on what the session holds", zookeeper, "deleted-by-others", []edit{
		{"zkreg/session.go", "		if set {\n			ok, st, _, err = s.c.zk.ExistsW(path)\n", "		if false {\n			ok, st, _, err = s.c.zk.ExistsW(path)\n"},
	}},
	{"a session taken for lost confirms what was withdrawn", zookeeper, "withdrawn-while-servers-are-away", []edit{
		{"session.go", "			k.leave(e, errUnended)\n", ""},
	}},
	{"a dead link that is waited for", zookeeper, "half-open", []edit{
		{"verify.go", "min(max(ttl/6, heard), ttl/3))\n", "max(10*ttl, heard))\n"},
	}},
	// In etcdreg, on a real server.
	{"a prefix with which other names begin as well", etcd, "other-services", []edit{
		{"etcdreg/etcdreg.go", "return b.opts.Root + \"/\" + service + \"/\" }", "return b.opts.Root + \"/\" + service }"},
		{"etcdreg/etcdreg.go", "return b.prefix(service) + id }", "return b.prefix(service) + \"/\" + id }"},
		{"etcdreg/watch.go", "id = strings.TrimPrefix(string(key), b.prefix(service))", "_, id, _ = strings.Cut(strings.TrimPrefix(string(key), b.prefix(service)), \"/\")"},
		{"etcdreg/fence.go", "%s~/%x", "%s/~/%x"},
	}},
	{"a stale list", etcd, "changes-while-cut-off", []edit{
		{"etcdreg/etcdreg.go", "	closed  bool\n", "	closed  bool\n	first   int64\n"},
		{"etcdreg/watch.go", "	resp, err := c.client.Get(clientv3.WithRequireLeader(ctx), b.prefix(service), clientv3.WithPrefix())\n", "	resp, err := c.client.Get(ctx, b.prefix(service), clientv3.WithPrefix(), clientv3.WithRev(b.first))\n	if err == nil && len(resp.Kvs) > 1 && b.first == 0 {\n		b.first = resp.Header.Revision\n	}\n"},
	}},
	{"a dead watch", etcd, "update", []edit{
		{"etcdreg/watch.go", "			each(r)\n", "			each(r)\n			<-ctx.Done()\n"},
	}},
	{"a change lost between list and watch", etcd, "list-and-watch", []edit{
		{"etcdreg/watch.go", "	news := c.client.Watch(watch, key, clientv3.WithRange(end), clientv3.WithRev(revision), clientv3", "	time.Sleep(10 * time.Millisecond)\n	news := c.client.Watch(watch, key, clientv3.WithRange(end), clientv3"},
	}},
	{"a blind delete", etcd, "withdrawal-spares-the-newer", []edit{
		{"etcdreg/txn.go", "within(remove, same))", "remove)\n		_ = same"},
		{"etcdreg/write.go", "if at[i] == 0 && clientv3.LeaseID(kv.Lease) == s.lease {", "if _ = clientv3.LeaseID(kv.Lease); at[i] == 0 {"},
	}},
	{"a lost update", etcd, "superseded-while-away", []edit{
		{"etcdreg/write.go", "if kv.ModRevision == 0 ||", "if true ||"},
	}},
	{"leases not shared", etcd, "quiet-watch", []edit{
		{"etcdreg/txn.go", "		r.put.Key, r.put.Value, r.put.Lease = key, rec.Value, int64(s.lease)\n", "		own, err := s.b.NewSession(context.Background(), s.TTL())\n		if err != nil {\n			panic(err)\n		}\n		r.put.Key, r.put.Value, r.put.Lease = key, rec.Value, int64(own.(*session).lease)\n"},
	}},
	{"a compaction taken for emptiness", etcd, "history-is-gone", []edit{
		{"etcdreg/etcdreg.go", "	closed  bool\n", "	closed  bool\n	first   int64\n"},
		{"etcdreg/watch.go", "	if err != nil {\n		return b.explain(ctx, c, sent, err)\n	}\n	sink.Reset", "	if err == nil && b.first > 0 {\n		if _, old := c.client.Get(ctx, b.prefix(service), clientv3.WithPrefix(), clientv3.WithRev(b.first)); old != nil {\n			resp.Kvs = nil\n		}\n	}\n	if err == nil {\n		b.first = resp.Header.Revision\n	}\n	if err != nil {\n		return b.explain(ctx, c, sent, err)\n	}\n	sink.Reset"},
	}},
	{"an error taken for emptiness", etcd, "outage", []edit{
		{"etcdreg/watch.go", "	c, err := b.connect(ctx)\n	if err != nil {\n		return err\n	}\n	sent := time.Now()\n	resp, err", "	c, err := b.connect(ctx)\n	if err != nil {\n		return err\n	}\n	defer sink.Reset(nil, \"\")\n	sent := time.Now()\n	resp, err"},
	}},
	{"what others take is not noticed", etcd, "newest-wins", []edit{
		{"etcdreg/guard.go", "	if ev.Type == clientv3.EventTypeDelete || clientv3.LeaseID(ev.Kv.Lease) != s.lease {\n", "	if ev.Type == clientv3.EventTypeDelete {\n"},
	}},
	{"many updates at once that are refused together", etcd, "many-at-once", []edit{
		{"etcdreg/write.go", "Records: 120", "Records: 140"},
	}},
	{"a link that nobody gives up", etcd, "half-open", []edit{
		{"verify.go", "min(max(ttl/6, heard), ttl/3))\n", "max(10*ttl, heard))\n"},
	}},
	// In consulreg, on a real server.
	{"a lock delay left at its default", consul, "expired-is-free", []edit{
		{"consulreg/session.go", "LockDelay: lockDelay, ", ""},
	}},
	{"a false answer taken for success", consul, "newest-wins", []edit{
		{"consulreg/write.go", "	if len(why) == 0 {\n", "	if true {\n"},
	}},
	{"a stale list", consul, "update", []edit{
		{"consulreg/watch.go", "	for anew := true; err == nil; {\n", "	var pairs api.KVPairs\n	for anew := true; err == nil; {\n"},
		{"consulreg/watch.go", "		pairs, err := b.list(ctx, service)\n		if err != nil {\n", "		if pairs == nil {\n			pairs, err = b.list(ctx, service)\n		}\n		if err != nil {\n"},
	}},
	{"a dead watch", consul, "list-and-watch", []edit{
		{"consulreg/watch.go", "			sink.Apply(put, gone, at.version())\n", "			sink.Apply(put, gone, at.version())\n			<-ctx.Done()\n"},
	}},
	{"a blind delete", consul, "withdrawal-spares-the-newer", []edit{
		{"consulreg/write.go", "	if old == nil || old.Session != s.id {\n		return nil, nil\n	}\n	return []*api.KVTxnOp{{Verb: api.KVDeleteCAS, Key: key, Index: old.ModifyIndex}}, nil\n", "	return []*api.KVTxnOp{{Verb: api.KVDelete, Key: key}}, nil\n"},
	}},
	{"a lost update", consul, "superseded-while-away", []edit{
		{"consulreg/write.go", "	case !rec.TakeOver && registry.OwnerOf(old.Value) != rec.Owner:\n", "	case false:\n"},
	}},
	{"sessions not shared", consul, "dead-owner", []edit{
		{"consulreg/write.go", "Value: rec.Value, Session: s.id}", "Value: rec.Value, Session: func() string {\n		own, err := s.b.NewSession(context.Background(), s.TTL())\n		if err != nil {\n			return s.id\n		}\n		return own.(*session).id\n	}()}"},
	}},
	{"what the token may not read taken for absent", consul, "denied-from-the-start", []edit{
		{"consulreg/consulreg.go", "	case meta.ResultsFilteredByACLs:\n", "	case false:\n"},
		{"consulreg/consulreg.go", "	case !empty || path == \"\":\n", "	case true:\n"},
	}},
}
