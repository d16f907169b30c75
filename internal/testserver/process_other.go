//go:build !linux

package testserver

import (
	"errors"
	"os/exec"
)

// DiesWithParent says whether a server ends with a test binary that is killed.
const DiesWithParent = false

// CanPause says whether servers can be paused.
const CanPause = false

// dieWithParent does nothing: a server outlives a test binary that is killed.
func dieWithParent(*exec.Cmd) {}

var errNoPause = errors.New("a process can be paused on Linux only")

func (p *process) pause() error  { return errNoPause }
func (p *process) resume() error { return errNoPause }
