package main

import (
	"context"
	"sync"
	"time"

	"github.com/go-rollcall/registry/timesvc"
)

// A result is how a request has ended.
type result struct {
	number int
	start  time.Time
	answer timesvc.Answer
	err    error
}

// load makes the requests, until all are made or ctx ends. The results come as the
// requests end, and must be taken; after the last one, nothing is under way any more.
func (f *getFlags) load(ctx context.Context, client *timesvc.Client) <-chan result {
	results := make(chan result)
	go func() {
		defer close(results)
		var requests sync.WaitGroup
		defer requests.Wait()
		turn := make(chan struct{}, f.concurrency)
		timer := time.NewTimer(0)
		defer timer.Stop()
		first := time.Now()
		for k := range f.requests {
			timer.Reset(time.Until(first.Add(time.Duration(k) * f.interval)))
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
			select {
			case turn <- struct{}{}:
			case <-ctx.Done():
			}
			if ctx.Err() != nil {
				return
			}
			requests.Go(func() {
				r := result{number: k, start: time.Now()}
				r.answer, r.err = client.Get(ctx)
				results <- r
				<-turn // reported: one at a time is also seen one at a time
			})
		}
	}()
	return results
}
