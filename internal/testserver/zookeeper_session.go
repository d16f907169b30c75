package testserver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// EndSession ends sessions of other clients on the server, as an expiry does: when
// it returns, their ephemeral nodes are gone. The client hears of it when it next
// connects. One that is over already is fine.
//
// A greeting is how the server answered a client when it connected: its first
// frame, which names the session and its password. More bytes may follow.
func (a *ZooKeeperAdmin) EndSession(t testing.TB, greetings ...[]byte) {
	t.Helper()
	for _, greeting := range greetings {
		a.endSession(t, greeting)
	}
}

func (a *ZooKeeperAdmin) endSession(t testing.TB, greeting []byte) {
	t.Helper()
	s, err := parseGreeting(greeting)
	if err != nil {
		t.Fatalf("ZooKeeper admin: end session: %v", err)
	}
	deadline := time.Now().Add(adminTimeout)
	for {
		// The client may take its session back at any step: then once more.
		err := s.end(a.addr)
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("ZooKeeper admin: end session 0x%x: %v", s.id, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	// The server tells of an end that it has not carried out yet. It works in
	// order: once it has answered this, the end lies behind.
	a.do(t, "sync", "/", func() error {
		_, err := a.conn.Sync("/")
		return err
	})
}

// zkSession is what the server asks of a client that comes back.
type zkSession struct {
	id       uint64
	password []byte
}

// parseGreeting reads a ConnectResponse: the length of the frame, protocol
// version, timeout, session, and the password with its length.
func parseGreeting(b []byte) (zkSession, error) {
	const fixed = 4 + 4 + 4 + 8 + 4
	if len(b) < fixed {
		return zkSession{}, fmt.Errorf("%d bytes are no greeting of a ZooKeeper", len(b))
	}
	id, n := binary.BigEndian.Uint64(b[12:]), binary.BigEndian.Uint32(b[20:])
	if n > uint32(len(b)-fixed) {
		return zkSession{}, fmt.Errorf("a greeting of %d bytes lacks part of a password of %d", len(b), n)
	}
	return zkSession{id, b[fixed:][:n]}, nil
}

// end takes the session over on a connection of its own and closes it.
func (s zkSession) end(addr string) error {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))

	var hello []byte
	hello = binary.BigEndian.AppendUint32(hello, 0)    // protocol version
	hello = binary.BigEndian.AppendUint64(hello, 0)    // last transaction seen
	hello = binary.BigEndian.AppendUint32(hello, 4000) // timeout in ms
	hello = binary.BigEndian.AppendUint64(hello, s.id)
	hello = binary.BigEndian.AppendUint32(hello, uint32(len(s.password)))
	hello = append(hello, s.password...)
	hello = append(hello, 0) // not read-only
	answer, err := exchange(conn, hello)
	if err != nil {
		return err
	}
	granted, err := parseGreeting(answer)
	if err != nil {
		return err
	}
	if granted.id != s.id {
		return nil // 0: the server knows no such session any more
	}

	var bye []byte
	bye = binary.BigEndian.AppendUint32(bye, 1)          // number of the request
	bye = binary.BigEndian.AppendUint32(bye, 0xfffffff5) // -11: close the session
	answer, err = exchange(conn, bye)
	if err != nil {
		return err
	}
	// After the length: number, transaction, error code.
	if len(answer) < 4+4+8+4 {
		return errors.New("the answer to the close request is too short")
	}
	if code := int32(binary.BigEndian.Uint32(answer[16:])); code != 0 {
		return fmt.Errorf("the close request got error %d", code)
	}
	return nil
}

// exchange sends body as a frame and returns the frame that answers it, length
// included.
func exchange(conn net.Conn, body []byte) ([]byte, error) {
	frame := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	if _, err := conn.Write(append(frame, body...)); err != nil {
		return nil, err
	}
	head := make([]byte, 4)
	if _, err := io.ReadFull(conn, head); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head)
	if n > 1<<20 {
		return nil, fmt.Errorf("an answer of %d bytes", n)
	}
	answer := append(head, make([]byte, n)...)
	_, err := io.ReadFull(conn, answer[4:])
	return answer, err
}
