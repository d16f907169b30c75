//go:build !linux

package testserver

import "os/exec"

// DiesWithParent says whether a server ends with a test binary that is killed.
const DiesWithParent = false

// dieWithParent does nothing: a server outlives a test binary that is killed.
func dieWithParent(*exec.Cmd) {}
