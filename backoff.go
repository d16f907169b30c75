package registry

import (
	"context"
	"math/rand/v2"
	"time"
)

const minBackoff = 50 * time.Millisecond

// A backoff paces tries: from 50 ms, doubled at each failure up to MaxBackoff,
// each drawn from its upper half, so that clients that lost the registry
// together do not come back together.
type backoff struct{ d time.Duration }

func (b *backoff) next() time.Duration {
	b.d = min(max(2*b.d, minBackoff), MaxBackoff)
	return jitter(b.d)
}

// jitter draws from the upper half of d.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2) }

// after is next, but for a refusal, which is not to be expected to pass soon.
func (b *backoff) after(err error) time.Duration {
	if permanent(err) {
		return MaxBackoff + rand.N(MaxBackoff/2)
	}
	return b.next()
}

func (b *backoff) reset() { b.d = 0 }

// sleep returns after d, or sooner if ctx ends, and says whether ctx is alive.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
