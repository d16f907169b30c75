// Command reliability fills the tables of docs/reliability.md with what tests have
// measured: it reads what `go test -json` says from standard input. See `make
// reliability`.
package main

import (
	"fmt"
	"os"

	"github.com/go-rollcall/registry/internal/measured"
)

const document, promises = "docs/reliability.md", "docs/promises.md"

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "reliability: %v\n", err)
		os.Exit(1)
	}
}

func run() error {
	var l measured.Log
	if err := l.Read(os.Stdin); err != nil {
		return err
	}
	doc, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	list, err := os.ReadFile(promises)
	if err != nil {
		return err
	}
	filled, err := l.Fill(string(doc), string(list))
	if err != nil {
		return fmt.Errorf("%s: %w", document, err)
	}
	if err := os.WriteFile(document, []byte(filled), 0o644); err != nil {
		return err
	}
	if l.Failed > 0 {
		return fmt.Errorf("%s is filled, and %d tests and cases have failed", document, l.Failed)
	}
	return nil
}
