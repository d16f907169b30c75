package conformance

import (
	"errors"
	"strings"

	"github.com/go-rollcall/registry"
)

// input: what is refused before anything is sent.
var input = []testCase{
	{name: "bad-input", promise: 15, needs: link, run: func(e *env) {
		a := e.client()
		a.Cut() // nothing can be sent
		long := strings.Repeat("x", 129)
		for _, in := range []registry.Instance{
			{Addr: "h:1"}, {Service: "a/b", Addr: "h:1"}, {Service: "..", Addr: "h:1"}, {Service: ".", Addr: "h:1"},
			{Service: "a\x00", Addr: "h:1"}, {Service: "a\xff", Addr: "h:1"}, {Service: long, Addr: "h:1"}, {Service: "a b", Addr: "h:1"},
			{Service: "s", ID: "a/b", Addr: "h:1"}, {Service: "s", ID: "..", Addr: "h:1"}, {Service: "s", ID: "\n", Addr: "h:1"},
			{Service: "s", ID: long, Addr: "h:1"}, {Service: "s", ID: "\xff", Addr: "h:1"},
			{Service: "s"}, {Service: "s", Addr: "h"}, {Service: "s", Addr: "h:0"}, {Service: "s", Addr: "h:70000"},
			{Service: "s", Addr: ":80"}, {Service: "s", Addr: "h:http"}, {Service: "s", Addr: "h h:1", ID: "x"},
			{Service: "s", Addr: "h:1", Meta: map[string]string{"k": "\xff"}},
		} {
			if _, err := a.Registry.Register(e.Context(), in); !errors.Is(err, registry.ErrInvalid) {
				e.Errorf("Register(%+v): %v, want ErrInvalid", in, err)
			}
		}
		for _, name := range []string{"", "a/b", "..", "a\n", "\xff", long} {
			if _, err := a.Registry.Lookup(e.Context(), name); !errors.Is(err, registry.ErrInvalid) {
				e.Errorf("Lookup(%q): %v, want ErrInvalid", name, err)
			}
			for _, err := range a.Registry.Watch(e.Context(), name) {
				if !errors.Is(err, registry.ErrInvalid) {
					e.Errorf("Watch(%q): %v, want ErrInvalid", name, err)
				}
			}
		}
	}},
}
