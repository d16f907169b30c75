package testserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A program is a server that this project builds from its source where the
// machine lacks it. tools/<name>.mod says from which.
type program struct {
	name   string // of its binary and its module file
	module string // also its main package
	takes  string // to build for the first time
}

var (
	etcdProgram   = program{"etcd", "go.etcd.io/etcd/server/v3", "about 90 s"}
	consulProgram = program{"consul", "github.com/hashicorp/consul", "5 to 8 minutes"}
)

// BuildEtcd builds etcd if this machine has none, and says so to log.
func BuildEtcd(ctx context.Context, log io.Writer) error { return etcdProgram.build(ctx, log) }

// BuildConsul builds Consul if this machine has none, and says so to log.
func BuildConsul(ctx context.Context, log io.Writer) error { return consulProgram.build(ctx, log) }

// path returns the path of the binary: one on PATH, or else the one that build
// has left in the user's cache. Nothing is built here: a test would time out.
func (p program) path() (string, error) {
	if path, err := exec.LookPath(p.name); err == nil {
		return path, nil
	}
	_, path, err := p.locate()
	if err == nil {
		if _, err = os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			err = errors.New("there is no " + path)
		}
	}
	if err != nil {
		return "", fmt.Errorf("%s is %w: it is not on PATH, and %v: run `make servers`", p.name, ErrNotInstalled, err)
	}
	return path, nil
}

// locate returns the top of the source tree, and where the binary of the version
// that it asks for is kept.
func (p program) locate() (tree, path string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", "", err
	}
	dir, err := os.Getwd() // of a test: the folder of its package
	if err != nil {
		return "", "", err
	}
	modfile := filepath.Join("tools", p.name+".mod")
	for tree = dir; ; tree = filepath.Dir(tree) {
		mod, err := os.ReadFile(filepath.Join(tree, modfile))
		if err == nil {
			version := p.version(mod)
			if version == "" {
				return "", "", fmt.Errorf("%s does not require %s", modfile, p.module)
			}
			return tree, filepath.Join(cache, "go-rollcall-registry", p.name+"-"+version), nil
		}
		if tree == filepath.Dir(tree) {
			return "", "", fmt.Errorf("%s is not in the source tree of this project: no folder above it has %s", dir, modfile)
		}
	}
}

// version returns the version, without its v, that a module file requires.
func (p program) version(mod []byte) string {
	for line := range bytes.Lines(mod) {
		f := strings.Fields(string(line))
		if len(f) >= 2 && f[0] == p.module {
			return strings.TrimPrefix(f[1], "v")
		}
	}
	return ""
}

// build builds the binary if there is none. It appears whole or not at all, also
// if the build is killed, or another one is under way.
func (p program) build(ctx context.Context, log io.Writer) error {
	if _, err := p.path(); err == nil {
		return nil
	}
	tree, path, err := p.locate()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), p.name+"-build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fmt.Fprintf(log, "Building %s, which takes %s for the first time.\n", filepath.Base(path), p.takes)
	built := filepath.Join(dir, p.name)
	cmd := exec.CommandContext(ctx, "go", "build", "-modfile="+filepath.Join("tools", p.name+".mod"), "-o", built, p.module)
	cmd.Dir, cmd.Stdout, cmd.Stderr = tree, log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it removes its files then
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("building %s: %w", filepath.Base(path), err)
	}
	return os.Rename(built, path)
}
