package main

import (
	"bytes"
	"net"
	"strings"
	"testing"
	"time"
)

// The registry is down when the program starts: with the servers of the last run it
// succeeds at once, without them it says what it was waiting for.
func TestRegistryDownAtStart(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down := l.Addr().String()
	l.Close()
	up := "mem://" + t.Name()
	serveOn(t, up)
	dir := t.TempDir()
	var stdout, stderr bytes.Buffer
	if s := run(t.Context(), []string{"get", "--registry", up, "--requests", "1", "--cache", dir}, &stdout, &stderr); s != exitOK || stderr.Len() > 0 {
		t.Fatalf("status %d, stderr:\n%s", s, &stderr)
	}
	for _, scheme := range []string{"zk", "etcd", "consul"} {
		url := scheme + "://" + down
		t.Run(scheme+" with a cache", func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			s := run(t.Context(), []string{"get", "--registry", url, "--requests", "20", "--interval", "0s", "--timeout", "5s", "--cache", dir}, &stdout, &stderr)
			if s != exitOK || !strings.Contains(stdout.String(), "requests: 20, failures: 0\n") {
				t.Errorf("status %d, stdout:\n%s\nstderr:\n%s", s, &stdout, &stderr)
			}
		})
		for what, cache := range map[string]string{"none": "", "an empty one": t.TempDir()} {
			t.Run(scheme+" with "+what, func(t *testing.T) {
				t.Parallel()
				var stdout, stderr bytes.Buffer
				start := time.Now()
				s := run(t.Context(), []string{"get", "--registry", url, "--requests", "1", "--timeout", "500ms", "--cache", cache}, &stdout, &stderr)
				if took := time.Since(start); s != exitFailed || took < 500*time.Millisecond || stdout.String() != "requests: 1, failures: 1\n" {
					t.Errorf("status %d after %v, stdout:\n%s", s, took, &stdout)
				}
				for _, want := range []string{"request failed", "go_servers", "no answer within 500ms", url, "connection refused"} {
					if !strings.Contains(stderr.String(), want) {
						t.Errorf("stderr without %q:\n%s", want, &stderr)
					}
				}
			})
		}
	}
}
