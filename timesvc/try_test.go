package timesvc_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/go-rollcall/registry/timesvc"
)

func TestAnswersRefused(t *testing.T) {
	for answer, want := range map[string]string{
		"":                          "without an answer",
		"h:1: 2000":                 "before the end of the line",
		"one\ntwo\n":                "not one line",
		"\x1b[2Jgone\n":             "not one line",
		"\xff\xfe\n":                "not one line",
		strings.Repeat("x", 5000):   "longer than 4096 bytes",
		strings.Repeat("y", 10<<20): "longer than 4096 bytes",
	} {
		t.Run(want, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				w.store.Plant(service, "h:1", nil)
				l := w.Listen("h:1")
				go func() {
					c, err := l.Accept()
					if err != nil {
						t.Error(err)
						return
					}
					io.WriteString(c, answer)
					c.Close()
				}()
				c, _ := w.client(timesvc.ClientOptions{})
				if _, err := c.Get(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v, want an error with %q", err, want)
				}
			})
		})
	}
}

// torn is a connection that breaks after some of an answer.
type torn struct {
	net.Conn
	io.Reader
}

func (c torn) Read(p []byte) (int, error) { return c.Reader.Read(p) }

// How much has come is said, also where the error has an address of its own.
func TestAnswerCutOff(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.store.Plant(service, "h:1", nil)
		c, _ := w.client(timesvc.ClientOptions{Dial: func(context.Context, string, string) (net.Conn, error) {
			conn, _ := net.Pipe()
			reset := &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
			return torn{conn, io.MultiReader(strings.NewReader("h:1: 2000"), iotest.ErrReader(reset))}, nil
		}})
		a, err := c.Get(t.Context())
		if !errors.Is(err, syscall.ECONNRESET) || !strings.Contains(err.Error(), "h:1: the connection broke after 9 bytes: connection reset") {
			t.Errorf("%v, want how much has come", err)
		}
		if a.Addr != "" || a.Tries != 1 || len(a.Failed) != 1 {
			t.Errorf("with an error: %+v", a)
		}
	})
}
