//go:build !race

package processes_test

// raceFlags build a program as this test is built.
var raceFlags []string
