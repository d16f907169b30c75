package memreg_test

import (
	"testing"
	"time"

	"github.com/go-rollcall/registry/internal/adaptertest"
)

func TestAdapters(t *testing.T) {
	h := harness(300 * time.Millisecond)
	h.TTL, h.Slack = 2*time.Second, time.Second
	adaptertest.Run(t, h, 2*h.TTL)
}
