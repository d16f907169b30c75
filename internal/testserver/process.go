package testserver

import (
	"os/exec"
	"runtime"
)

// process is a running server.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended and was waited for
}

// startProcess starts cmd so that it does not outlive this process, however
// that ends, where the system can do so.
func startProcess(cmd *exec.Cmd) (*process, error) {
	dieWithParent(cmd)
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// "Parent" means the thread that starts it: that one has to stay for
		// as long as the server does.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait() // it is killed in the end: the status says nothing
			close(p.done)
		}
	}()
	return p, <-started
}

// ended reports whether the process has ended.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// kill ends the process and returns when it is gone.
func (p *process) kill() {
	p.cmd.Process.Kill() // fails only if it is gone already
	<-p.done
}
