package chaos

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/go-rollcall/registry/conformance"
	"github.com/go-rollcall/registry/memreg"
	"github.com/rs/zerolog"
)

// A link is a client's way to the registry.
type link interface {
	cut()
	freeze()
	dropReplies()
	heal()
	// spoilWire puts a fault of the wire, until cleanWire.
	spoilWire(k Kind) error
	cleanWire()
}

// A network is the link to real servers: a proxy for each member, and behind it another
// one, which delays and loses what the first only holds or cuts.
type network struct {
	proxies []*conformance.Proxy
	wires   []*toxiproxy.Proxy
}

func newNetwork(t testing.TB, members []string) *network {
	l := &network{}
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	for i, addr := range members {
		wire := toxiproxy.NewProxy(server, fmt.Sprint(i), "127.0.0.1:0", addr)
		if err := wire.Start(); err != nil {
			t.Fatalf("starting a proxy: %v", err)
		}
		t.Cleanup(wire.Stop)
		l.wires = append(l.wires, wire)
		l.proxies = append(l.proxies, conformance.NewProxy(t, wire.Listen))
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
	for _, w := range l.wires {
		if _, err := w.Toxics.AddToxicJson(strings.NewReader(toxics[k])); err != nil {
			return err
		}
	}
	return nil
}

func (l *network) cleanWire() {
	for _, w := range l.wires {
		w.Toxics.ResetToxics(context.Background())
	}
}

// A memoryLink is the link to a store in memory. It is made anew with each Registry,
// whose end breaks it for good.
type memoryLink struct{ *memreg.Conn }

func (l *memoryLink) cut()                 { l.Cut() }
func (l *memoryLink) freeze()              { l.Freeze() }
func (l *memoryLink) dropReplies()         { l.DropReply() }
func (l *memoryLink) heal()                { l.Heal() }
func (l *memoryLink) spoilWire(Kind) error { return nil }
func (l *memoryLink) cleanWire()           {}

// Some of its parts log to a logger of their own.
func init() { zerolog.SetGlobalLevel(zerolog.Disabled) }
