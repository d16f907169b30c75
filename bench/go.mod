module github.com/go-rollcall/registry/bench

go 1.26.7

require github.com/go-kit/kit v0.13.0

require (
	github.com/go-kit/log v0.2.0 // indirect
	github.com/go-logfmt/logfmt v0.5.1 // indirect
)

replace github.com/go-rollcall/registry => ..
