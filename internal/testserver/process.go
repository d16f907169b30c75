package testserver

import (
	"context"
	"os"
	"os/exec"
	"runtime"
)

// process is a running server.
type process struct {
	cmd  *exec.Cmd
	life context.Context // ends when it has ended and was waited for
}

// startProcess starts cmd so that it does not outlive this process, however
// that ends, where the system can do so.
func startProcess(cmd *exec.Cmd) (*process, error) {
	dieWithParent(cmd)
	life, end := context.WithCancel(context.Background())
	p := &process{cmd: cmd, life: life}
	started := make(chan error)
	go func() {
		// "Parent" means the thread that starts it: that one has to stay for
		// as long as the server does.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer end()
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait() // it is killed in the end: the status says nothing
		}
	}()
	return p, <-started
}

// ended reports whether the process has ended.
func (p *process) ended() bool { return p.life.Err() != nil }

// signal sends sig, and reports what a process that is gone cannot get.
func (p *process) signal(sig os.Signal) error { return p.cmd.Process.Signal(sig) }

// kill ends the process and returns when it is gone.
func (p *process) kill() {
	p.cmd.Process.Kill() // fails only if it is gone already
	<-p.life.Done()
}
