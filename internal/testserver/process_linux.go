package testserver

import (
	"os/exec"
	"syscall"
)

// DiesWithParent says whether a server ends with a test binary that is killed.
const DiesWithParent = true

func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
