package testserver

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// CanIsolate says whether members of a cluster can be parted: a relay has to know
// whose process dials it.
const CanIsolate = true

// A socket is how the kernel shows one among the descriptors of a process.
type socket string

// dialled returns the other side's socket of a connection on this machine that was
// accepted here.
func dialled(c *net.TCPConn) (socket, error) {
	local := c.RemoteAddr().(*net.TCPAddr).AddrPort()
	remote := c.LocalAddr().(*net.TCPAddr).AddrPort()
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		s, err := find(table, local, remote)
		if s != "" || err != nil && !os.IsNotExist(err) { // there may be no IPv6
			return s, err
		}
	}
	return "", fmt.Errorf("nobody on this machine is connected from %v to %v", local, remote)
}

// find looks for a connection in one of the kernel's tables.
func find(table string, local, remote netip.AddrPort) (socket, error) {
	f, err := os.Open(table)
	if err != nil {
		return "", err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		w := strings.Fields(lines.Text()) // number, local, remote, seven others, inode
		if len(w) < 10 || !isAddr(w[1], local) || !isAddr(w[2], remote) {
			continue
		}
		return socket("socket:[" + w[9] + "]"), nil
	}
	return "", nil
}

// isAddr compares an address with one in the kernel's form: words of four bytes, in
// hex, as the machine stores them, and the port.
func isAddr(text string, addr netip.AddrPort) bool {
	ip, p, _ := strings.Cut(text, ":")
	number, err := strconv.ParseUint(p, 16, 16)
	if err != nil || uint16(number) != addr.Port() {
		return false
	}
	var b []byte
	for ; len(ip) >= 8; ip = ip[8:] {
		word, err := strconv.ParseUint(ip[:8], 16, 32)
		if err != nil {
			return false
		}
		b = binary.NativeEndian.AppendUint32(b, uint32(word))
	}
	got, ok := netip.AddrFromSlice(b)
	return ok && got.Unmap() == addr.Addr().Unmap()
}

// has reports whether the process holds a socket.
func (p *process) has(s socket) bool {
	dir := filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), "fd")
	f, err := os.Open(dir)
	if err != nil { // it has ended
		return false
	}
	defer f.Close()
	names, _ := f.Readdirnames(-1)
	for _, name := range names {
		if link, err := os.Readlink(filepath.Join(dir, name)); err == nil && link == string(s) {
			return true
		}
	}
	return false
}
