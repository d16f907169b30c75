package chaos

import "slices"

// restart ends the program, with a word or without, and starts it again.
func (c *client) restart(how Kind) {
	if how == Crash {
		c.link.cut()
	}
	if c.close() == nil && how == Crash {
		c.r.counts.add("crash-confirmed", 1)
	}
	if how == Crash {
		c.link.heal()
	}
	c.start()
}

// close closes the Registry, which withdraws all that is registered.
func (c *client) close() error {
	for _, h := range c.handles {
		h.ended.Store(true)
	}
	call := c.r.now()
	err := c.registry.Close()
	ret := c.r.now()
	for k, ids := range c.regs {
		o := &op{kind: opWithdraw, key: k, client: c.n, regs: slices.Clone(ids), call: call}
		if err == nil {
			o.ret = ret
			c.settled(k, ret)
		} else {
			o.maybe = true
		}
		c.r.history.add(o)
		for _, n := range ids {
			if err == nil { // else its record may be there, and come back
				c.r.regs.get(n).over.CompareAndSwap(0, int64(ret))
			}
		}
	}
	c.readers.Wait()
	return err
}
