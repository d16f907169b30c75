// Command balance measures what a pick costs, beside the balancers of go-kit: among 10,
// 100 and 10,000 instances, on one core and on two, with a quiet set and with one that
// changes every millisecond. It prints a table, and fails if a cell of ours is slower
// than theirs, allocates, or takes more than 100 ns where nobody is beside it.
//
// Each number is the best of some runs, in turns: what else the machine does only adds.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// A cell is one line of the table.
type cell struct {
	policy  string
	n       int
	cpus    int
	changes bool
}

func (c cell) String() string {
	set := []string{"quiet", "changes"}[map[bool]int{true: 1}[c.changes]]
	return fmt.Sprintf("%-11s %6d  %d  %-7s", c.policy, c.n, c.cpus, set)
}

// A result is the best of some runs.
type result struct {
	ns     float64
	allocs int64
}

func (r *result) take(b testing.BenchmarkResult) {
	if ns := float64(b.T.Nanoseconds()) / float64(b.N); r.ns == 0 || ns < r.ns {
		r.ns = ns
	}
	r.allocs = max(r.allocs, b.AllocsPerOp())
}

func main() {
	testing.Init()
	runs := flag.Int("runs", 3, "runs of each cell, of which the best counts")
	only := flag.String("only", "", "the policies to measure, by part of the name")
	_ = flag.Set("test.benchtime", "20ms")
	flag.Parse()
	fmt.Println("policy           n  P  set       ours   with Done  go-kit  its fixed list  (ns, best of", *runs, "runs)")
	bad := 0
	for _, cpus := range []int{1, 2} {
		for _, policy := range []string{"round robin", "random", "weighted", "p2c", "hash"} {
			for _, n := range []int{10, 100, 10_000} {
				for _, changes := range []bool{false, true} {
					if strings.Contains(policy, *only) && (n != 100 || policy == "random" || policy == "round robin") {
						bad += measure(cell{policy, n, cpus, changes}, *runs)
					}
				}
			}
		}
	}
	if bad > 0 {
		fmt.Println(bad, "cells are not as they should be")
		os.Exit(1)
	}
}

// measure prints the line of c, and returns how much is wrong with it.
func measure(c cell, runs int) (bad int) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(c.cpus))
	set := newSet(c.n)
	defer set.close()
	ours := set.ours(c.policy)
	theirs := set.theirs(c.policy) // nil where they have none
	subjects := []func(*testing.PB){ours.pick, ours.pickDone}
	if theirs != nil {
		subjects = append(subjects, theirs.pick)
		if !c.changes {
			subjects = append(subjects, theirs.pickFixed)
		}
	}
	if c.changes {
		stop := set.change(time.Millisecond)
		defer stop()
	}
	results := make([]result, len(subjects))
	for range runs {
		for i, f := range subjects {
			if c.changes {
				set.follow(i < 2) // the other side has nothing to do meanwhile
			}
			results[i].take(testing.Benchmark(func(b *testing.B) { b.ReportAllocs(); b.RunParallel(f) }))
		}
	}
	fmt.Print(c)
	for _, r := range results {
		fmt.Printf("  %8.1f", r.ns)
	}
	// What allocates while the set changes is the making of tables, of which there are
	// some hundreds a second, and not a pick.
	fail := func(what string) { fmt.Print("  ", what); bad++ }
	switch {
	case results[0].allocs > 0 || results[1].allocs > 0:
		fail("ALLOCATES")
	case theirs != nil && results[0].ns > results[2].ns:
		fail("SLOWER")
	case theirs == nil && results[0].ns > 100:
		fail("OVER 100 ns")
	}
	fmt.Println()
	return bad
}
