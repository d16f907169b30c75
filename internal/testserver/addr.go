package testserver

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports that no system hands out by itself. One that it does can be taken while
// its server is down, by any connection of any program, and even by a client
// that tries to reach that server: TCP connects it to itself.
const (
	lowestPort  = 20000
	highestPort = 32767
)

var errPortTaken = errors.New("the port was taken by another program")

// FreeAddrs returns n addresses of this machine on which nobody listens now,
// over TCP or UDP.
func FreeAddrs(n int) (addrs []string, err error) {
	for tries := 0; len(addrs) < n; tries++ {
		port := lowestPort + rand.IntN(highestPort-lowestPort+1)
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		l, err := net.Listen("tcp", addr)
		if err == nil {
			defer l.Close() // not before all are found: they differ
			var p net.PacketConn
			if p, err = net.ListenPacket("udp", addr); err == nil {
				p.Close()
				addrs = append(addrs, addr)
				continue
			}
		}
		if tries > 1000 {
			return nil, err
		}
	}
	return addrs, nil
}

// port returns the port of an address that FreeAddrs made.
func port(addr string) int {
	_, s, _ := net.SplitHostPort(addr)
	n, _ := strconv.Atoi(s)
	return n
}
