package chaos

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// wires are proxies that delay and lose what passes. They are Toxiproxy's, and run in a
// process of their own: Toxiproxy leaves goroutines behind when a connection breaks
// while something is on its way, and may wait for one of them for ever. So their number
// is none of the run's, and a process that does not answer is replaced.
//
// That process is this program, told by its environment: see ServeWires.
type wires struct {
	mu      sync.Mutex
	cmd     *exec.Cmd
	in      io.WriteCloser
	answers chan string
	all     [][2]string // the address of each, and where it leads
}

const wiresVariable = "CHAOS_WIRES"

// ServeWires does what it reads, if this process was started for that, and returns
// otherwise.
func ServeWires() {
	if os.Getenv(wiresVariable) == "" {
		return
	}
	zerolog.SetGlobalLevel(zerolog.Disabled) // some parts of Toxiproxy log to a logger of their own
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	var all []*toxiproxy.Proxy
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		command, rest, _ := strings.Cut(lines.Text(), " ")
		n := 0
		var answer string
		var err error
		switch command {
		case "listen":
			at, to, _ := strings.Cut(rest, " ")
			p := toxiproxy.NewProxy(server, fmt.Sprint(len(all)), at, to)
			if err = p.Start(); err == nil {
				all = append(all, p)
				answer = p.Listen
			}
		case "spoil":
			number, toxic, _ := strings.Cut(rest, " ")
			if _, err = fmt.Sscan(number, &n); err == nil {
				_, err = all[n].Toxics.AddToxicJson(strings.NewReader(toxic))
			}
		case "clean":
			if _, err = fmt.Sscan(rest, &n); err == nil {
				all[n].Toxics.ResetToxics(context.Background())
			}
		}
		if err != nil {
			answer = "error: " + strings.ReplaceAll(err.Error(), "\n", " ")
		}
		fmt.Println(answer)
	}
	os.Exit(0)
}

func newWires(t testing.TB) *wires {
	w := &wires{}
	if err := w.start(); err != nil {
		t.Fatalf("starting the proxies for delays: %v", err)
	}
	t.Cleanup(w.stop)
	return w
}

// start starts the process, with those that are there already at the same addresses.
func (w *wires) start() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	w.cmd = exec.Command(self)
	w.cmd.Env = append(os.Environ(), wiresVariable+"=1")
	w.cmd.Stderr = os.Stderr
	if w.in, err = w.cmd.StdinPipe(); err != nil { // whose end ends it, however this one ends
		return err
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := w.cmd.Start(); err != nil {
		return err
	}
	answers := make(chan string)
	w.answers = answers
	go func() {
		defer close(answers)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			answers <- lines.Text()
		}
	}()
	for _, one := range w.all {
		if _, err := w.ask("listen %s %s", one[0], one[1]); err != nil {
			return err
		}
	}
	return nil
}

func (w *wires) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.end()
}

func (w *wires) end() {
	w.in.Close()
	w.cmd.Process.Kill()
	for range w.answers {
	}
	w.cmd.Wait() // it was killed: the status says nothing
}

// ask has the process do something. w.mu is held, but while it starts.
func (w *wires) ask(format string, args ...any) (string, error) {
	if _, err := fmt.Fprintf(w.in, format+"\n", args...); err != nil {
		return "", err
	}
	timer := time.NewTimer(5 * time.Second)
	defer timer.Stop()
	select {
	case answer, ok := <-w.answers:
		if what, bad := strings.CutPrefix(answer, "error: "); bad {
			return "", errors.New(what)
		} else if !ok {
			return "", errors.New("the process has ended")
		}
		return answer, nil
	case <-timer.C:
		return "", errors.New("no answer")
	}
}

// add makes one more, to an address, and returns its number and its own address.
func (w *wires) add(to string) (n int, at string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if at, err = w.ask("listen 127.0.0.1:0 %s", to); err == nil {
		w.all = append(w.all, [2]string{at, to})
	}
	return len(w.all) - 1, at, err
}

// spoil gives one a toxic, in Toxiproxy's terms.
func (w *wires) spoil(n int, toxic string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err := w.ask("spoil %d %s", n, toxic)
	return err
}

// clean takes all toxics from one. It reports whether that broke the connections of all.
func (w *wires) clean(n int) (broken bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := w.ask("clean %d", n); err == nil {
		return false, nil
	}
	w.end()
	return true, w.start()
}
