package herd_test

import (
	"sync"
	"time"
)

// What is counted.
const (
	requests = iota // what the server gets to answer, pings among them
	conns           // connections
	sessions        // that somebody asked for
	writes          // calls of Session.Put
	kinds
)

// window is the finest time in which is counted.
const window = 100 * time.Millisecond

// A tally counts what the herd asks, by time.
type tally struct {
	mu     sync.Mutex
	begin  time.Time
	counts [kinds][]int // by window
}

func newTally() *tally { return &tally{begin: time.Now()} }

// reset begins anew.
func (c *tally) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begin, c.counts = time.Now(), [kinds][]int{}
}

func (c *tally) add(kind int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := int(time.Since(c.begin) / window)
	for len(c.counts[kind]) <= i {
		c.counts[kind] = append(c.counts[kind], 0)
	}
	c.counts[kind][i]++
}

// peak returns the most of a kind within a window, and within a second.
func (c *tally) peak(kind int) (short, long int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	const second = int(time.Second / window)
	sum := 0
	for i, n := range c.counts[kind] {
		sum += n
		if i >= second {
			sum -= c.counts[kind][i-second]
		}
		short, long = max(short, n), max(long, sum)
	}
	return short, long
}

func (c *tally) total(kind int) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.counts[kind] {
		n += k
	}
	return n
}
