package registry

import (
	"cmp"
	"slices"
	"sync"
)

// A Batch says what one request of a backend takes, and cuts what a Session is
// given into such requests. Where Records, Bytes or InFlight is 0, it is one record, or
// one request, at a time.
type Batch struct {
	Records  int // in one request
	Again    int // in one of those that are written again; 0: as many
	Bytes    int // of keys and values in one request
	InFlight int // requests at a time
}

// Write is for the Put and the Delete of a [Session]. It calls write for each
// batch of recs, several at a time, and returns the errors in the order of recs.
//
// A transaction is all or nothing: one record that is not as it was taken to be
// fails the others. So write sets the error of each of its records in errs, and
// returns the indexes of those whose transaction the server has refused. They
// are written again, one batch at a time, with again set: what was assumed of
// them is to be read. What is refused then is written once more, each record by
// itself, so that none fails on account of another.
func (b Batch) Write(recs []Record, write func(recs []Record, again bool, errs []error) (refused []int)) []error {
	errs := make([]error, len(recs))
	var mu sync.Mutex
	var unsure []int // indexes in recs; guarded by mu
	var wg sync.WaitGroup
	turn := make(chan struct{}, max(b.InFlight, 1))
	for from, to := 0, 0; from < len(recs); from = to {
		to = from + b.first(b.Records, len(recs)-from, func(i int) Record { return recs[from+i] })
		turn <- struct{}{}
		wg.Go(func() {
			defer func() { <-turn }()
			refused := write(recs[from:to:to], false, errs[from:to:to])
			mu.Lock()
			defer mu.Unlock()
			for _, i := range refused {
				unsure = append(unsure, from+i)
			}
		})
	}
	wg.Wait()
	again := func(which []int) (refused []int) {
		part, fails := make([]Record, len(which)), make([]error, len(which))
		for k, i := range which {
			part[k] = recs[i]
		}
		for _, k := range write(part, true, fails) {
			refused = append(refused, which[k])
		}
		for k, i := range which {
			errs[i] = fails[k]
		}
		return refused
	}
	slices.Sort(unsure)
	for len(unsure) > 0 {
		n := b.first(cmp.Or(b.Again, b.Records), len(unsure), func(i int) Record { return recs[unsure[i]] })
		refused := again(unsure[:n])
		unsure = unsure[n:]
		if n == 1 {
			continue
		}
		for _, i := range refused {
			again([]int{i})
		}
	}
	return errs
}

// first returns how many of the n records that rec returns, from the first on, go
// into one request, of which there may be most.
func (b Batch) first(most, n int, rec func(i int) Record) int {
	bytes := 0
	n = min(n, max(most, 1))
	for i := range n {
		r := rec(i)
		bytes += len(r.Service) + len(r.ID) + len(r.Value)
		if i > 0 && bytes > b.Bytes {
			return i
		}
	}
	return n
}
