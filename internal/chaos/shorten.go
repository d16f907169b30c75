package chaos

import (
	"cmp"
	"testing"
	"time"
)

// shortest looks for the shortest prefix of the faults of the round of v after which a
// run still fails, by going through that round a few times with fewer of them, and
// returns its length and what was violated then. It is 0 if the round alone does not
// fail again.
func shortest(t *testing.T, cfg Config, v *Violation) (faults int, why *Violation) {
	fails := func(n int) (v *Violation) {
		t.Run("fewer", func(t *testing.T) {
			cfg := cfg
			cfg.Faults, cfg.Duration, cfg.Dir = n, 2*time.Minute, t.TempDir()
			v = Run(t, cfg)
			t.Logf("with %d faults of the round: %v", n, v)
		})
		return v
	}
	cfg.Round, cfg.Clients = v.Round, cmp.Or(cfg.Clients, defaultClients)
	all := len(draw(cfg.Seed, v.Round, func(Kind) bool { return true }, ttl, cfg.Clients, len(makeKeys(cfg.Clients)), 3))
	lo, hi := 0, all // it does not fail with lo, so far as is known, and does with hi
	if why = fails(all); why == nil {
		return 0, nil
	}
	for hi-lo > 1 {
		mid := (lo + hi) / 2
		if v := fails(mid); v != nil {
			hi, why = mid, v
		} else {
			lo = mid
		}
	}
	return hi, why
}
