package chaos

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/go-rollcall/registry/internal/testserver"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	ServeWires()
	os.Exit(testserver.Main(m))
}

// TestChaos is a run on each backend. The environment says how: CHAOS_SEED (a number, or
// "random"), CHAOS_DURATION, CHAOS_DIR, CHAOS_MINIMIZE (look for fewer faults that
// make a run fail). By default it is a short one, the same each time, on all backends
// side by side, with half as many clients: two cores are to have time for all of it.
func TestChaos(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Run("on", func(t *testing.T) {
		for _, backend := range []string{"mem", "zk", "etcd", "consul"} {
			t.Run(backend, func(t *testing.T) {
				cfg := Config{Backend: backend, Seed: 1, Duration: 2 * time.Minute, Dir: os.Getenv("CHAOS_DIR")}
				if backend == "mem" {
					cfg.Duration = 20 * time.Second
				}
				if d := os.Getenv("CHAOS_DURATION"); d != "" {
					var err error
					if cfg.Duration, err = time.ParseDuration(d); err != nil {
						t.Fatal(err)
					}
				} else {
					cfg.Clients = defaultClients / 2
					t.Parallel()
				}
				switch seed := os.Getenv("CHAOS_SEED"); seed {
				case "":
				case "random":
					cfg.Seed = rand.Uint64() >> 40 // short enough to be typed
				default:
					var err error
					if cfg.Seed, err = strconv.ParseUint(seed, 10, 64); err != nil {
						t.Fatal(err)
					}
				}
				var err error
				if cfg.Dir == "" {
					cfg.Dir, err = os.MkdirTemp("", "chaos-"+backend+"-")
				} else {
					cfg.Dir = filepath.Join(cfg.Dir, backend)
					err = os.MkdirAll(cfg.Dir, 0o755)
				}
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("seed %d, %v, files in %s", cfg.Seed, cfg.Duration, cfg.Dir)
				v := Run(t, cfg)
				if v == nil {
					return
				}
				t.Errorf("%v\nlogs and histories: %s\nagain: make chaos BACKEND=%s SEED=%d DURATION=%v", v, cfg.Dir, backend, cfg.Seed, cfg.Duration)
				if os.Getenv("CHAOS_MINIMIZE") != "" {
					if n, v := shortest(t, cfg, v); n > 0 {
						t.Errorf("the first %d faults of round %d are enough: %v", n, v.Round, v)
					} else {
						t.Errorf("that round by itself does not fail again")
					}
				}
			})
		}
	})
	if err := goleak.Find(before); err != nil && !t.Failed() {
		t.Errorf("goroutines are left: %v", err)
	}
}
