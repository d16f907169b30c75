package registry

import "sync"

// A Batch says what one request of a backend takes, and cuts what a Session is
// given into such requests.
type Batch struct {
	Records  int // in one request
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
	one := func(batch []int, again bool) (refused []int) {
		part, fails := make([]Record, len(batch)), make([]error, len(batch))
		for k, i := range batch {
			part[k] = recs[i]
		}
		for _, k := range write(part, again, fails) {
			refused = append(refused, batch[k])
		}
		mu.Lock()
		defer mu.Unlock()
		for k, i := range batch {
			errs[i] = fails[k]
		}
		return refused
	}
	all := make([]int, len(recs))
	for i := range all {
		all[i] = i
	}
	var unsure []int
	var wg sync.WaitGroup
	turn := make(chan struct{}, max(b.InFlight, 1))
	for _, batch := range b.cut(recs, all) {
		turn <- struct{}{}
		wg.Go(func() {
			defer func() { <-turn }()
			refused := one(batch, false)
			mu.Lock()
			defer mu.Unlock()
			unsure = append(unsure, refused...)
		})
	}
	wg.Wait()
	for _, batch := range b.cut(recs, unsure) {
		refused := one(batch, true)
		if len(batch) == 1 {
			continue
		}
		for _, i := range refused {
			one([]int{i}, true)
		}
	}
	return errs
}

// cut divides the records of recs at the indexes which.
func (b Batch) cut(recs []Record, which []int) (batches [][]int) {
	bytes := 0
	for _, i := range which {
		size := len(recs[i].Service) + len(recs[i].ID) + len(recs[i].Value)
		n := len(batches)
		if n == 0 || len(batches[n-1]) >= b.Records || bytes+size > b.Bytes {
			batches = append(batches, nil)
			n, bytes = n+1, 0
		}
		batches[n-1] = append(batches[n-1], i)
		bytes += size
	}
	return batches
}
