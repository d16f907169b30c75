package testserver

import (
	"bytes"
	"io"
	"net"
	"sync"
	"time"
)

// A pipe is a connection of one member to another, through a relay: ends[0] was
// dialled by from, and ends[1] is accepted by to.
type pipe struct {
	w        *network
	from, to *Node

	ends   [2]*net.TCPConn // ends[1] is nil until it is dialled; guarded by w.mu until then
	lost   bool            // nothing passes any more; guarded by w.mu and, to read, by either of writes
	ended  [2]bool         // by direction: its end was forwarded; guarded by w.mu
	writes [2]sync.Mutex   // held while something is written to an end
}

// forward carries what comes from one end to the other.
//
// A ZooKeeper that dials another begins by telling it where it listens itself. The
// other must not come back on a way around the relays.
func (p *pipe) forward(src, dst int) {
	buf := make([]byte, 32<<10)
	for first := src == 0; ; first = false {
		n, end := p.ends[src].Read(buf)
		if first {
			for i, private := range p.from.private {
				copy(buf, bytes.ReplaceAll(buf[:n], []byte(private), []byte(p.from.peer(p.to)[i]))) // as long
			}
		}
		p.writes[dst].Lock()
		if p.lost {
			p.writes[dst].Unlock()
			return
		}
		_, err := p.ends[dst].Write(buf[:n])
		if err == nil && end == io.EOF {
			err = p.ends[dst].CloseWrite()
		}
		p.writes[dst].Unlock()
		switch {
		case err != nil || end != nil && end != io.EOF:
			p.fail()
			return
		case end != nil:
			p.end(dst)
			return
		}
	}
}

// lose has nothing pass any more, and returns when nothing does; w.mu is held.
func (p *pipe) lose() {
	for i, c := range p.ends {
		if c != nil {
			c.SetWriteDeadline(past) // what is under way ends now
		}
		p.writes[i].Lock()
		defer p.writes[i].Unlock()
	}
	p.lost = true
}

// over reports whether nothing is to pass any more.
func (p *pipe) over() bool {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return p.lost || !p.w.pipes[p]
}

// fail breaks a pipe that has failed, unless nobody is to hear of it.
func (p *pipe) fail() {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	if !p.lost {
		p.breakUp()
	}
}

// end notes that one direction has ended in order. After the second nothing is
// left to do.
func (p *pipe) end(dst int) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.ended[dst] = true
	if p.ended[0] && p.ended[1] && !p.lost {
		delete(p.w.pipes, p)
		p.ends[0].Close()
		p.ends[1].Close()
	}
}

// breakUp ends a pipe as a broken connection ends; w.mu is held.
func (p *pipe) breakUp() {
	delete(p.w.pipes, p)
	for _, c := range p.ends {
		if c != nil {
			reset(c)
		}
	}
}

func reset(c *net.TCPConn) {
	c.SetLinger(0)
	c.SetDeadline(time.Time{})
	c.Close()
}
