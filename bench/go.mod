module github.com/go-rollcall/registry/bench

go 1.26.7

require (
	github.com/go-kit/kit v0.13.0
	github.com/go-kit/log v0.2.0
	github.com/go-rollcall/registry v0.0.0-00010101000000-000000000000
)

require github.com/go-logfmt/logfmt v0.5.1 // indirect

replace github.com/go-rollcall/registry => ..
