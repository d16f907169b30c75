package zkreg_test

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/internal/testserver"
	"github.com/go-rollcall/registry/zkreg"
	"github.com/go-zookeeper/zk"
)

// bench is what a benchmark runs in: a root of its own on the shared server.
// All that it opens is closed at the end, and the root deleted.
type bench struct {
	b       *testing.B
	z       *testserver.ZooKeeper
	root    string
	ctx     context.Context
	readers sync.WaitGroup // goroutines that read a watch until ctx ends
}

func newBench(b *testing.B) *bench {
	z := testserver.SharedZooKeeper(b)
	admin := z.Admin(b)
	e := &bench{b: b, z: z, root: "/" + strings.NewReplacer("/", "-", "=", "-").Replace(b.Name())}
	b.Cleanup(func() { admin.Delete(b, e.root) })
	admin.Delete(b, e.root)
	admin.Set(b, e.root, nil)
	var cancel context.CancelFunc
	e.ctx, cancel = context.WithCancel(context.Background())
	b.Cleanup(func() { cancel(); e.readers.Wait() })
	return e
}

// check may be called from any goroutine.
func (e *bench) check(what string, err error) {
	if err != nil {
		e.b.Errorf("%s: %v", what, err)
	}
}

// open makes a Registry. If m is not nil it counts what goes over its
// connections.
func (e *bench) open(m *meter, ttl time.Duration) registry.Registry {
	opts := &zkreg.Options{Root: e.root}
	if m != nil {
		opts.Dial = m.dial
	}
	reg := registry.New(zkreg.New([]string{e.z.Addr()}, opts), &registry.Options{TTL: ttl, Logger: slog.New(slog.DiscardHandler)})
	e.b.Cleanup(func() { reg.Close() })
	return reg
}

// dial connects the client library by itself.
func (e *bench) dial(m *meter) *zk.Conn {
	dialer := net.DialTimeout
	if m != nil {
		dialer = func(network, addr string, timeout time.Duration) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(context.Background(), timeout)
			defer cancel()
			return m.dial(ctx, network, addr)
		}
	}
	c, _, err := zk.Connect([]string{e.z.Addr()}, 4*time.Second, zk.WithLogger(log.New(io.Discard, "", 0)), zk.WithDialer(dialer))
	if err != nil {
		e.b.Fatal(err)
	}
	e.b.Cleanup(c.Close)
	_, _, err = c.Exists("/") // when that is answered there is a session
	e.check("connect", err)
	return c
}

// addr is different for each i, and the ID as well.
func addr(i int) string { return fmt.Sprintf("10.0.%d.%d:8897", i/250, i%250) }

// record has the size of those that register writes.
var record = []byte(`{"addr":"10.0.1.100:8897","meta":{"zone":"a"},"owner":"ABCDEFGHIJKLMNOPQRSTUVWXYZ"}`)

var acl = zk.WorldACL(zk.PermAll)

func (e *bench) register(reg registry.Registry, service string, i int) registry.Registration {
	r, err := reg.Register(e.ctx, registry.Instance{Service: service, Addr: addr(i), Meta: map[string]string{"zone": "a"}})
	e.check("register", err)
	return r
}

// create makes the parent of a service.
func (e *bench) create(service string) {
	e.z.Admin(e.b).Set(e.b, e.root+"/"+service, nil)
}

// populate creates n instances on c, in Multis, of which so many are under way
// at once.
func (e *bench) populate(c *zk.Conn, service string, n, underWay int) {
	parallel((n+maxBatch-1)/maxBatch, underWay, func(batch int) {
		var ops []any
		for i := batch * maxBatch; i < min(n, (batch+1)*maxBatch); i++ {
			ops = append(ops, &zk.CreateRequest{Path: e.root + "/" + service + "/" + addr(i), Data: record, Acl: acl, Flags: zk.FlagEphemeral})
		}
		_, err := c.Multi(ops...)
		e.check("multi", err)
	})
}

// parallel calls f for 0 to n-1, so many at once.
func parallel(n, atOnce int, f func(i int)) {
	var wg sync.WaitGroup
	var next atomic.Int64
	for range min(n, atOnce) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	wg.Wait()
}

// A watcher passes on what a watch yields.
type watcher struct {
	e     *bench
	snaps chan seen
}

type seen struct {
	registry.Snapshot
	at time.Time
}

func (e *bench) watch(reg registry.Registry, service string) *watcher {
	w := &watcher{e, make(chan seen, 16)}
	e.readers.Go(func() {
		defer close(w.snaps)
		for snap, err := range reg.Watch(e.ctx, service) {
			if err != nil {
				return
			}
			select {
			case w.snaps <- seen{snap, time.Now()}:
			case <-e.ctx.Done():
			}
		}
	})
	return w
}

// await returns when the watch yielded a snapshot that is ok.
func (w *watcher) await(ok func(registry.Snapshot) bool) time.Time {
	timeout := time.After(time.Minute)
	for {
		select {
		case s, more := <-w.snaps:
			if !more {
				w.e.b.Fatal("the watch has ended")
			}
			if s.Err == nil && ok(s.Snapshot) {
				return s.at
			}
		case <-timeout:
			w.e.b.Fatal("the watcher does not see it")
		}
	}
}

func find(s registry.Snapshot, id string) (in registry.Instance, ok bool) {
	i, ok := slices.BinarySearchFunc(s.Instances, id, func(in registry.Instance, id string) int { return cmp.Compare(in.ID, id) })
	if ok {
		in = s.Instances[i]
	}
	return in, ok
}

// beside measures raw and ours, each by itself and in turns. If a side handles
// n records at once, it is measured several times for one operation of the
// benchmark, and its rate is reported.
func beside(b *testing.B, n int, raw, ours side) {
	raw(0) // a server that is new is slow
	ours(0)
	b.Run("client=raw", func(b *testing.B) { alone(b, n, raw) })
	b.Run("client=ours", func(b *testing.B) { alone(b, n, ours) })
	b.Run("client=both", func(b *testing.B) {
		var r, o samples
		for b.Loop() {
			for range rounds(n) {
				r, o = append(r, raw(len(r)+1)), append(o, ours(len(o)+1))
			}
		}
		r.report(b, n, "raw-")
		o.report(b, n, "ours-")
		ratio := float64(o.quantile(0.5)) / float64(r.quantile(0.5))
		if n > 0 {
			b.ReportMetric(1/ratio, "rate-ours/raw")
		} else {
			b.ReportMetric(ratio, "p50-ours/raw")
		}
		b.ReportMetric(0, "ns/op") // two things
	})
}

func alone(b *testing.B, n int, f side) {
	var all samples
	for b.Loop() {
		for range rounds(n) {
			all = append(all, f(len(all)+1))
		}
	}
	all.report(b, n, "")
	var total traffic
	for _, s := range all {
		total = total.plus(s.traffic)
	}
	if total.requests > 0 {
		total.report(b, "op", len(all))
	}
	b.ReportMetric(float64(all.quantile(0.5)), "ns/op")
}

func rounds(n int) int {
	if n > 0 {
		return 5
	}
	return 1
}

type samples []sample

func (s samples) quantile(q float64) time.Duration {
	sorted := slices.SortedFunc(slices.Values(s), func(a, b sample) int { return cmp.Compare(a.took, b.took) })
	return sorted[int(q*float64(len(sorted)-1))].took
}

func (s samples) report(b *testing.B, n int, prefix string) {
	if n > 0 {
		b.ReportMetric(float64(n)/s.quantile(0.5).Seconds(), prefix+"regs/s")
		return
	}
	b.ReportMetric(s.quantile(0.5).Seconds()*1e3, prefix+"p50-ms")
	b.ReportMetric(s.quantile(0.99).Seconds()*1e3, prefix+"p99-ms")
}

// traffic is what a client has sent and received. Pings are apart.
type traffic struct {
	requests, sent, received, pings int64
}

func (t traffic) plus(u traffic) traffic {
	return traffic{t.requests + u.requests, t.sent + u.sent, t.received + u.received, t.pings + u.pings}
}

func (t traffic) since(u traffic) traffic {
	return traffic{t.requests - u.requests, t.sent - u.sent, t.received - u.received, t.pings - u.pings}
}

func (t traffic) report(b *testing.B, unit string, n int) {
	b.ReportMetric(float64(t.requests)/float64(n), "requests/"+unit)
	b.ReportMetric(float64(t.sent)/float64(n), "sent-bytes/"+unit)
	b.ReportMetric(float64(t.received)/float64(n), "received-bytes/"+unit)
	b.ReportMetric(float64(t.pings)/float64(n), "pings/"+unit)
}

// A meter counts the traffic of the connections that it has dialled.
type meter struct {
	mu sync.Mutex
	traffic
}

func (m *meter) read() traffic {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.traffic
}

func (m *meter) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &metered{Conn: c, m: m}, nil
}

type metered struct {
	net.Conn
	m       *meter
	in, out frames
}

func (c *metered) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	c.in.next(p[:n], func(size int64, ping bool) {
		if !ping {
			c.m.received += size
		}
	})
	return n, err
}

func (c *metered) Write(p []byte) (int, error) {
	c.m.mu.Lock() // before: the answer may be quicker than what follows
	c.out.next(p, func(size int64, ping bool) {
		if ping {
			c.m.pings++
		} else {
			c.m.requests++
			c.m.sent += size
		}
	})
	c.m.mu.Unlock()
	return c.Conn.Write(p)
}

// frames finds the frames in one direction of a connection: a length, and a
// number, which is -2 for a ping.
type frames struct {
	head []byte
	rest int // of the frame, to be skipped
}

func (f *frames) next(p []byte, frame func(size int64, ping bool)) {
	for len(p) > 0 {
		if f.rest > 0 {
			n := min(f.rest, len(p))
			f.rest, p = f.rest-n, p[n:]
			continue
		}
		n := min(8-len(f.head), len(p))
		f.head, p = append(f.head, p[:n]...), p[n:]
		if len(f.head) == 8 {
			size := int(binary.BigEndian.Uint32(f.head))
			frame(int64(4+size), int32(binary.BigEndian.Uint32(f.head[4:])) == -2)
			f.head, f.rest = f.head[:0], size-4
		}
	}
}
