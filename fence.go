package registry

import (
	"slices"
	"sync"
)

// Fences are for a [Session] of a registry in which a request that was given up may be
// carried out all the same, seconds later, when what it wrote has been written over or
// deleted since. So writing is made under the condition that the fence of the service is
// as it was, and before anything is written after a request that was not answered the
// fence is moved, which shuts that request out. A writing that is bound to what it
// replaces needs no fence; a creation, which replaces nothing, always does.
//
// A fence is a key that the session holds, where no record can be, and is absent until it
// is moved for the first time. The zero value is ready for use. It is safe for concurrent
// use.
type Fences struct {
	mu sync.Mutex
	of map[string]fence // by service
}

type fence struct {
	at     uint64
	doubts bool
}

// At returns the revision of the fence of service: what [Fences.Write] was told last, or
// 0 while it is absent.
func (f *Fences) At(service string) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.of[service].at
}

// Doubt notes that a request for writing records of service was not answered, or that its
// fence was not as it should be.
func (f *Fences) Doubt(service string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.set(service, fence{f.of[service].at, true})
}

func (f *Fences) set(service string, to fence) {
	if f.of == nil {
		f.of = map[string]fence{}
	}
	f.of[service] = to
}

// Write is for the Put and the Delete of the session, which do not run at the same time.
// It calls move for each service of recs of which there are doubts, which writes the
// fence and returns its revision, and then write for the records whose services have
// their fences where they belong. The others have the error of move, which is not called
// again after one that is not about that service. The errors are in the order of recs.
func (f *Fences) Write(recs []Record, move func(service string) (at uint64, err error), write func(recs []Record) []error) []error {
	var faults map[string]error
	var away error
	for _, service := range f.doubtful(recs) {
		err := away
		var at uint64
		if err == nil {
			at, err = move(service)
		}
		if err != nil {
			if faults == nil {
				faults = map[string]error{}
			}
			faults[service] = err
			if !permanent(err) {
				away = err // as it is for the others, which are not to be waited for one by one
			}
			continue
		}
		f.mu.Lock()
		f.set(service, fence{at: at})
		f.mu.Unlock()
	}
	if faults == nil {
		return write(recs)
	}
	errs := make([]error, len(recs))
	var rest []Record
	var of []int // their indexes in recs
	for i, rec := range recs {
		if errs[i] = faults[rec.Service]; errs[i] == nil {
			rest, of = append(rest, rec), append(of, i)
		}
	}
	for k, err := range write(rest) {
		errs[of[k]] = err
	}
	return errs
}

// doubtful returns the services of recs of which there are doubts.
func (f *Fences) doubtful(recs []Record) (services []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for service, fence := range f.of {
		if fence.doubts && slices.ContainsFunc(recs, func(rec Record) bool { return rec.Service == service }) {
			services = append(services, service)
		}
	}
	return services
}
