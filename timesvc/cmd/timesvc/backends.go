package main

// The backends of this program: each import makes one URL scheme known.
import (
	_ "github.com/go-rollcall/registry/consulreg"
	_ "github.com/go-rollcall/registry/etcdreg"
	_ "github.com/go-rollcall/registry/memreg"
	_ "github.com/go-rollcall/registry/staticreg"
	_ "github.com/go-rollcall/registry/zkreg"
)
