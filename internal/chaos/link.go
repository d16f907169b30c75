package chaos

import (
	"sync/atomic"
	"testing"

	"github.com/go-rollcall/registry/conformance"
	"github.com/go-rollcall/registry/memreg"
)

// A link is a client's way to the registry.
type link interface {
	cut()
	freeze()
	dropReplies()
	heal()
	// spoilWire puts a fault of the wire, until cleanWire, which reports whether the
	// connections of all clients may have broken.
	spoilWire(k Kind) error
	cleanWire() (broken bool, err error)
}

// A network is the link to real servers: a proxy for each member, and, if it is a long
// one, behind it another, which delays and loses what the first only holds or cuts.
type network struct {
	proxies []*conformance.Proxy
	wires   *wires
	numbers []int // of the wires
	dirty   atomic.Bool
}

func newNetwork(t testing.TB, members []string, wires *wires) *network {
	l := &network{wires: wires}
	for _, addr := range members {
		if wires != nil {
			n, at, err := wires.add(addr)
			if err != nil {
				t.Fatalf("starting a proxy for delays: %v", err)
			}
			l.numbers = append(l.numbers, n)
			addr = at
		}
		l.proxies = append(l.proxies, conformance.NewProxy(t, addr))
	}
	return l
}

func (l *network) addrs() (addrs []string) {
	for _, p := range l.proxies {
		addrs = append(addrs, p.Addr())
	}
	return addrs
}

func (l *network) each(f func(*conformance.Proxy)) {
	for _, p := range l.proxies {
		f(p)
	}
}

func (l *network) cut()         { l.each((*conformance.Proxy).Cut) }
func (l *network) freeze()      { l.each((*conformance.Proxy).Freeze) }
func (l *network) dropReplies() { l.each((*conformance.Proxy).DropReply) }
func (l *network) heal()        { l.each((*conformance.Proxy).Heal) }

// greetings are what the servers first sent on the connections that are open.
func (l *network) greetings() (all [][]byte) {
	for _, p := range l.proxies {
		all = append(all, p.Greetings()...)
	}
	return all
}

// toxics are the faults of the wire in Toxiproxy's terms. In milliseconds, and in
// kilobytes a second. A time-out of 0 lets nothing pass, on half of the connections,
// which break when it is taken away.
var toxics = map[Kind]string{
	Delay:    `{"type":"latency","attributes":{"latency":60,"jitter":40}}`,
	DropHalf: `{"type":"timeout","toxicity":0.5,"attributes":{"timeout":0}}`,
	Throttle: `{"type":"bandwidth","attributes":{"rate":4}}`,
}

func (l *network) spoilWire(k Kind) error {
	l.dirty.Store(true)
	for _, n := range l.numbers {
		if err := l.wires.spoil(n, toxics[k]); err != nil {
			return err
		}
	}
	return nil
}

func (l *network) cleanWire() (broken bool, err error) {
	if !l.dirty.Swap(false) {
		return false, nil
	}
	for _, n := range l.numbers {
		b, e := l.wires.clean(n)
		if broken = broken || b; e != nil {
			return broken, e
		}
	}
	return broken, nil
}

// A memoryLink is the link to a store in memory. It is made anew with each Registry,
// whose end breaks it for good.
type memoryLink struct{ *memreg.Conn }

func (l *memoryLink) cut()                     { l.Cut() }
func (l *memoryLink) freeze()                  { l.Freeze() }
func (l *memoryLink) dropReplies()             { l.DropReply() }
func (l *memoryLink) heal()                    { l.Heal() }
func (l *memoryLink) spoilWire(Kind) error     { return nil }
func (l *memoryLink) cleanWire() (bool, error) { return false, nil }
