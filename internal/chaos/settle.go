package chaos

import (
	"fmt"
	"time"

	"github.com/go-rollcall/registry"
)

// assemble waits until every client has registered the record that it alone registers.
func (r *run) assemble() {
	for deadline := r.now() + time.Minute; ; {
		r.gate.Lock()
		missing := -1
		for _, c := range r.clients {
			if c.handles[services*contended+c.n] == nil {
				missing = c.n
			}
		}
		r.gate.Unlock()
		if missing < 0 {
			return
		}
		if r.now() > deadline {
			r.violated("client %d has not registered in a minute, with nothing wrong", missing)
		}
		if !r.wait(100 * time.Millisecond) {
			return
		}
	}
}

// round is one round: a storm, its end, the settling, and a calm in which clients
// operate and nothing may be lost.
func (r *run) round(samples *samples) {
	faults := draw(r.cfg.Seed, r.n, r.w.possible, r.w.ttl, len(r.clients), len(r.keys), 3)
	if r.cfg.Faults > 0 {
		faults = faults[:min(r.cfg.Faults, len(faults))]
	}
	r.logs.round(r.n, faults, r.now())
	before := r.losses.seenStalls()
	r.inject(faults)
	healed := r.now()
	r.gate.Lock()
	defer r.gate.Unlock()
	if r.ctx.Err() != nil {
		return
	}
	took, ok := r.settle(healed)
	if !ok {
		return
	}
	samples.calm()
	ops := r.history.take(r.now())
	checked := r.linearizable(ops)
	r.tidy()
	r.counts.rounds++
	r.counts.settled = append(r.counts.settled, took)
	r.t.Logf("%6v round %d: %d faults; settled %v after the last; %d operations checked in %v; %d stalls",
		r.now().Round(time.Second), r.n, len(faults), took.Round(10*time.Millisecond), len(ops), checked.Round(10*time.Millisecond), r.losses.seenStalls()-before)
	r.gate.Unlock()
	r.wait(4 * time.Second)
	r.gate.Lock()
}

// tired is how long servers may stay slow when all faults are over: on a machine that has
// too much to do nothing can be said about the library.
const tired = 3 * time.Minute

// settle waits until all is as it should be, and says how long that took since healed.
// Nobody operates. The time that is allowed begins when the servers have ceased to be slow.
func (r *run) settle(healed time.Duration) (took time.Duration, ok bool) {
	began := r.now()
	fresh := registry.New(r.w.direct(), &registry.Options{TTL: r.w.ttl, Logger: r.logs.logger(-1)})
	defer fresh.Close()
	for {
		wrong := r.wrong(fresh)
		now := r.now()
		switch {
		case wrong == "":
			return now - healed, true
		case now > max(healed, began)+tired:
			r.violated("the servers, and not the library: they are slow %v after all faults are over", now-healed)
			return 0, false
		case now > max(healed, began, r.losses.lastSlow())+r.w.settling():
			r.violated("%v after all faults are over (the last clients ceased to operate %v later), which is more than %v: %s",
				(now - healed).Round(time.Millisecond), (began - healed).Round(time.Millisecond), r.w.settling(), wrong)
			return 0, false
		case !r.wait(100 * time.Millisecond):
			return 0, false
		}
	}
}

// wrong says what is not as it should be, or "": what a fresh client looks up must be
// what is wanted, and nothing else, and all watchers must show that.
func (r *run) wrong(fresh registry.Registry) string {
	want := map[string]map[string]seen{}
	for s := range services {
		want[r.keys[s*contended].service] = map[string]seen{}
	}
	for _, c := range r.clients {
		for k, h := range c.handles {
			if isDone(h) {
				continue
			}
			at := r.keys[k]
			if was, twice := want[at.service][at.id]; twice {
				return fmt.Sprintf("%v: r%d of client %d and r%d of client %d both take themselves for registered", at, was.reg, r.regs.get(was.reg).client, h.n, c.n)
			}
			want[at.service][at.id] = seen{h.n, h.ver}
			if err := h.Err(); err != nil {
				return fmt.Sprintf("client %d: r%d of %v is not confirmed: %v", c.n, h.n, at, err)
			}
		}
	}
	for service, want := range want {
		call := r.now()
		list, err := fresh.Lookup(r.ctx, service)
		if err != nil {
			return err.Error()
		}
		found, err := parse(list)
		if err != nil {
			return err.Error()
		}
		if d := r.difference(found, want); d != "" {
			return "lookup of " + service + " by a fresh client: " + d
		}
		r.looked(-1, service, list, call, r.now())
	}
	for _, c := range r.clients {
		for _, v := range c.views {
			v.mu.Lock()
			d, err, first := r.difference(v.set, want[v.service]), v.last.Err, v.first
			v.mu.Unlock()
			switch who := fmt.Sprintf("client %d, watching %s", c.n, v.service); {
			case first:
				return who + ", has had no snapshot"
			case d != "":
				return who + ": " + d
			case err != nil:
				return fmt.Sprintf("%s: the set is right, and not confirmed: %v", who, err)
			}
		}
	}
	return ""
}

func (r *run) difference(found, want map[string]seen) string {
	for id, w := range want {
		switch f, there := found[id]; {
		case !there:
			return fmt.Sprintf("%s is missing, and r%d v%d of client %d is wanted", id, w.reg, w.ver, r.regs.get(w.reg).client)
		case f != w:
			return fmt.Sprintf("%s is r%d v%d, and r%d v%d is wanted", id, f.reg, f.ver, w.reg, w.ver)
		}
	}
	for id, f := range found {
		if _, wanted := want[id]; !wanted {
			return fmt.Sprintf("%s r%d v%d of client %d is there, and nobody wants it", id, f.reg, f.ver, r.regs.get(f.reg).client)
		}
	}
	return ""
}

// tidy begins the history anew with what is there, and drops what is over.
func (r *run) tidy() {
	now := r.now()
	r.losses.settled(now)
	there := map[int]*handle{}
	for _, c := range r.clients {
		c.limbo, c.open = nil, map[int][]*op{}
		clear(c.regs)
		for k, h := range c.handles {
			if isDone(h) {
				delete(c.handles, k)
				continue
			}
			there[k] = h
			c.regs[k] = []int{h.n}
		}
		for _, v := range c.views {
			v.forget()
		}
	}
	for k := range r.keys {
		o := &op{kind: opRestore, key: k, client: -1, call: now, ret: now}
		if h := there[k]; h != nil {
			o.regs, o.ver = []int{h.n}, h.ver
		}
		r.history.add(o)
	}
}

// leave closes all clients, after which nothing of them may be left. It waits for as long as
// what was withdrawn without an answer is unconfirmed.
func (r *run) leave() {
	failed := !r.wait(4 * r.w.ttl)
	for _, c := range r.clients {
		if err := c.close(); err != nil && !failed {
			r.violated("client %d: Close, with nothing wrong: %v", c.n, err)
		}
	}
	if failed {
		return
	}
	fresh := registry.New(r.w.direct(), nil)
	for s := range services {
		list, err := fresh.Lookup(r.ctx, r.keys[s*contended].service)
		if err != nil || len(list) > 0 {
			r.violated("after all clients were closed a lookup finds %v (%v)", list, err)
		}
	}
	if err := fresh.Close(); err != nil {
		r.violated("closing a fresh client: %v", err)
	}
	deadline := r.now() + r.w.settling()
	for {
		n := r.w.sessions()
		if n <= r.w.admins {
			return
		}
		if r.now() > deadline || !r.wait(100*time.Millisecond) {
			r.violated("after all clients were closed the servers have %d sessions, and the administrators %d", n, r.w.admins)
			return
		}
	}
}
