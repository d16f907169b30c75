// Package herd_test has many Registries in one process lose their registry together
// and come back together: how long that takes, what it asks of the server, and that
// nobody is lost on the way. It is small in a plain test; see -registries.
package herd_test

import (
	"flag"
	"os"
	"testing"

	"github.com/go-rollcall/registry/internal/testserver"
)

var (
	registries = flag.Int("registries", 50, "how many Registries, each with a session of its own")
	instances  = flag.Int("instances", 10, "how many instances each registers")
	services   = flag.Int("services", 10, "over how many services these are spread")
)

func TestMain(m *testing.M) { os.Exit(testserver.Main(m)) }
