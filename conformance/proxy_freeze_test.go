package conformance_test

import (
	"io"
	"testing"
	"time"
)

func TestProxyFreezeHoldsAndHealForwardsInOrder(t *testing.T) {
	p, srv := proxied(t)
	c := connect(t, p)
	c.roundTrip("before ")
	s := srv.next(t)
	forwarded := p.Bytes()
	p.Freeze()
	p.Freeze()
	for range 1000 {
		c.send("0123456789")
	}
	late := connect(t, p) // accepted
	late.send("late")
	s.push("pushed by the server")
	if got := p.Bytes(); got != forwarded {
		t.Errorf("%d bytes were forwarded through a frozen proxy", got-forwarded)
	}
	if got := s.got(); got != "before " {
		t.Errorf("the server got %q", got)
	}
	p.Heal()
	c.expect("pushed by the server") // before any echo
	for range 1000 {
		c.expect("0123456789")
	}
	late.expect("late")
	c.roundTrip("after")
}

// The write that blocks is one to a peer that does not read.
func TestProxyFreezeInterruptsAWriteThatBlocks(t *testing.T) {
	p, srv := proxied(t)
	c := connect(t, p)
	c.roundTrip("x")
	s := srv.next(t)
	const size = 32 << 20 // more than all the buffers on the way
	go s.push(string(make([]byte, size)))
	waitFor(t, "the write to block", func() bool {
		before := p.Bytes()
		time.Sleep(20 * time.Millisecond)
		return before > 1<<20 && p.Bytes() == before
	})
	p.Freeze()
	forwarded := p.Bytes()
	buf := make([]byte, forwarded-2) // empty the buffers: there is room to write now
	if _, err := io.ReadFull(c, buf); err != nil {
		t.Fatal(err)
	}
	if got := p.Bytes(); got != forwarded {
		t.Errorf("%d bytes were forwarded through a frozen proxy", got-forwarded)
	}
	p.Heal()
	if _, err := io.CopyN(io.Discard, c, int64(size-len(buf))); err != nil {
		t.Errorf("the rest: %v", err)
	}
	c.roundTrip("y")
}

func TestProxyForgetsWhatAClientSentThatGaveUp(t *testing.T) {
	for range 100 { // Heal races the notice that the client has gone
		p, srv := proxied(t)
		gone, stays, half := connect(t, p), connect(t, p), connect(t, p)
		var at [3]*serverConn
		for i, c := range []*client{gone, stays, half} {
			c.roundTrip("1")
			at[i] = srv.next(t)
		}
		p.Freeze()
		for _, c := range []*client{gone, stays, half} {
			c.send("2")
		}
		never := connect(t, p)
		never.send("3")
		never.Close()
		gone.Close()
		half.CloseWrite()
		p.Heal()
		half.expectBroken()
		stays.expect("2")
		stays.roundTrip("4")
		if got := at[0].all(t); got != "1" {
			t.Fatalf("the server got %q of a client that gave up", got)
		}
		if got := at[2].all(t); got != "1" {
			t.Fatalf("the server got %q of a client that closed half", got)
		}
	}
}

func TestProxyHealIsOverWhenItReturns(t *testing.T) {
	p, _ := proxied(t)
	for range 100 {
		c := connect(t, p)
		c.roundTrip("1")
		p.Freeze()
		p.Heal()
		c.send("2") // in the open: not what a client sent that gave up in a freeze
		c.CloseWrite()
		if got, err := io.ReadAll(c); err != nil || string(got) != "2" {
			t.Fatalf("read %q, %v", got, err)
		}
	}
}

func TestProxyTakesTooMuchForGivenUp(t *testing.T) {
	p, srv := proxied(t)
	c := connect(t, p)
	c.roundTrip("1")
	p.Freeze()
	c.send(string(make([]byte, 4<<20+64<<10))) // as much as the proxy takes, and some that waits
	p.Heal()
	c.expectBroken()
	if got := srv.next(t).all(t); got != "1" {
		t.Errorf("the server got %d bytes", len(got))
	}
}

func TestProxyDropReply(t *testing.T) {
	p, srv := proxied(t)
	c, quiet := connect(t, p), connect(t, p)
	c.roundTrip("1")
	s := srv.next(t)
	quiet.roundTrip("q")
	p.DropReply()
	p.DropReply()
	c.send("2")
	s.expect(t, "12")
	late := connect(t, p)
	late.send("3")
	srv.next(t) // quiet
	l := srv.next(t)
	l.expect(t, "3")
	// More than fits on the way: some of it is lost when it is all sent.
	s.push(string(make([]byte, 32<<20)))
	l.push(string(make([]byte, 32<<20)))
	p.Heal()
	c.expectBroken()
	late.expectBroken()
	quiet.roundTrip("nothing lost")
	connect(t, p).roundTrip("4")
}

func TestProxyDropReplyHidesTheServersEnd(t *testing.T) {
	p, srv := proxied(t)
	c := connect(t, p)
	c.roundTrip("1")
	s := srv.next(t)
	p.DropReply()
	s.conn.SetLinger(0)
	s.conn.Close()
	c.expectSilence("2")
	p.Heal()
	c.expectBroken()
}
