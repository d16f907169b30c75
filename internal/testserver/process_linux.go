package testserver

import (
	"errors"
	"os/exec"
	"syscall"
	"time"
	"unsafe"
)

// DiesWithParent says whether a server ends with a test binary that is killed.
const DiesWithParent = true

// CanPause says whether servers can be paused.
const CanPause = true

func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// pause stops the process where it is, and returns when all its threads stand
// still.
func (p *process) pause() error {
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	const (
		idPid    = 1
		wStopped = syscall.WUNTRACED // not its end: os/exec waits for that
	)
	for !p.ended() {
		var info [128]byte // a siginfo_t, all zero where there is nothing to tell
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, idPid, uintptr(p.cmd.Process.Pid),
			uintptr(unsafe.Pointer(&info)), wStopped|syscall.WNOHANG, 0, 0)
		switch {
		case errno == syscall.ECHILD: // it has just ended
		case errno != 0 && errno != syscall.EINTR:
			return errno
		case info != [128]byte{}:
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return errors.New("it has ended")
}

// resume undoes pause.
func (p *process) resume() error { return p.signal(syscall.SIGCONT) }
