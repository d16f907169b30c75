package memreg_test

import (
	"testing"
	"time"

	"github.com/go-rollcall/registry/conformance"
	"github.com/go-rollcall/registry/internal/adaptertest"
)

func TestAdapters(t *testing.T) {
	adaptertest.Run(t, conformance.Harness{New: harness, TTL: 2 * time.Second, Slack: time.Second})
}
