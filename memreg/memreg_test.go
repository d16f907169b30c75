package memreg_test

import (
	"testing"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/conformance"
	"github.com/go-rollcall/registry/internal/memsuite"
	"github.com/go-rollcall/registry/memreg"
)

func open(c *memreg.Conn, opts *registry.Options) registry.Registry { return registry.New(c, opts) }

func TestInRealTime(t *testing.T) { conformance.Run(t, memsuite.RealTime(open)) }

func TestInBubbles(t *testing.T) { conformance.Run(t, memsuite.Virtual(open)) }
