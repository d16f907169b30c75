package testserver_test

import (
	"os"
	"testing"

	"github.com/go-rollcall/registry/internal/testserver"
)

func TestMain(m *testing.M) { os.Exit(testserver.Main(m)) }
