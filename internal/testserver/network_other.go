//go:build !linux

package testserver

import (
	"errors"
	"net"
)

// CanIsolate says whether members of a cluster can be parted: a relay has to know
// whose process dials it.
const CanIsolate = false

type socket string

func dialled(*net.TCPConn) (socket, error) {
	return "", errors.New("who has dialled can be told on Linux only")
}

func (p *process) has(socket) bool { return false }
