package registry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/memreg"
)

// kept is a client with a cache.
type kept struct {
	link *memreg.Conn
	reg  registry.Registry
	view *registry.View
	log  bytes.Buffer
}

func keeping(t *testing.T, store *memreg.Store, dir string, cut bool) *kept {
	k := &kept{link: store.Conn()}
	if cut {
		k.link.Cut()
	}
	k.reg = registry.New(k.link, quiet)
	k.view = following(t, k.reg, &registry.FollowOptions{Cache: dir, Logger: slog.New(slog.NewTextHandler(&k.log, nil))})
	t.Cleanup(k.end)
	return k
}

func (k *kept) end() {
	k.view.Close()
	_ = k.reg.Close()
}

func files(t *testing.T, dir string) (names []string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// A program that starts while the registry is away begins with the last confirmed set.
func TestCache(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "anew")
	synctest.Test(t, func(t *testing.T) {
		store := memreg.NewStore()
		store.Plant("svc", "h:1", []byte(`{"addr":"h:2","meta":{"zone":"<ä>"}}`))
		store.Plant("svc", "h:3", nil)
		first := keeping(t, store, dir, false)
		until(first.view, func(s registry.Snapshot) bool { return len(s.Instances) == 2 })
		time.Sleep(65 * time.Minute) // the time in the file is five minutes old
		first.end()
		end := time.Now()
		if names := fmt.Sprint(files(t, dir)); names != "[svc.view]" {
			t.Errorf("files: %s", names)
		}
		time.Sleep(time.Hour)

		second := keeping(t, store, dir, true)
		if err := second.view.Wait(t.Context()); err != nil {
			t.Fatalf("with a cached set: %v", err)
		}
		snap := second.view.Snapshot()
		if got, want := fmt.Sprint(snap.Instances), "[{svc h:1 h:2 map[zone:<ä>]} {svc h:3 h:3 map[]}]"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if snap.Err == nil || !snap.Confirmed.Equal(end) || second.view.Age() != time.Hour {
			t.Errorf("err %v, confirmed %v, age %v; want unconfirmed since %v", snap.Err, snap.Confirmed, second.view.Age(), end)
		}
		time.Sleep(time.Hour)
		store.Remove("svc", "h:3")
		second.link.Heal()
		snap = until(second.view, func(s registry.Snapshot) bool { return s.Err == nil })
		if len(snap.Instances) != 1 {
			t.Errorf("the first confirmed set is %v", snap.Instances)
		}

		// An empty set leaves nothing to begin with.
		store.Remove("svc", "h:1")
		until(second.view, func(s registry.Snapshot) bool { return len(s.Instances) == 0 })
		second.end()
		if names := files(t, dir); len(names) > 0 {
			t.Errorf("files: %v", names)
		}
	})
}

// The current directory is one like any other.
func TestCacheHere(t *testing.T) {
	t.Chdir(t.TempDir())
	synctest.Test(t, func(t *testing.T) {
		store := memreg.NewStore()
		store.Plant("svc", "h:1", nil)
		k := keeping(t, store, ".", false)
		until(k.view, func(s registry.Snapshot) bool { return len(s.Instances) == 1 })
		k.end()
		if names := fmt.Sprint(files(t, ".")); names != "[svc.view]" {
			t.Errorf("files: %s; the log has %s", names, &k.log)
		}
	})
}

// After a partition the first answer may be that nobody is there, since all sessions have
// run out: the cached set stays while those that live register again.
func TestCacheOutlastsAnEmptyAnswer(t *testing.T) {
	for _, back := range []bool{true, false} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			store := memreg.NewStore()
			store.Plant("svc", "h:1", nil)
			first := keeping(t, store, dir, false)
			until(first.view, func(s registry.Snapshot) bool { return len(s.Instances) == 1 })
			first.end()
			store.Remove("svc", "h:1")

			k := keeping(t, store, dir, true)
			time.Sleep(time.Hour)
			k.link.Heal()
			healed := time.Now()
			held := func(s registry.Snapshot) bool {
				return s.Err == nil || strings.Contains(s.Err.Error(), "nobody is registered")
			}
			if s := until(k.view, held); s.Err == nil {
				t.Fatalf("the first answer: %+v", s)
			}
			for range 3 { // the link flaps, which makes nothing certain
				k.link.Cut()
				time.Sleep(20 * time.Second)
				if s := k.view.Snapshot(); s.Err == nil || len(s.Instances) != 1 {
					t.Fatalf("cut off again: %+v", s)
				}
				k.link.Heal()
				healed = time.Now()
				until(k.view, held)
			}
			const hold = registry.MaxBackoff + 5*time.Second
			if back {
				time.Sleep(hold - time.Second)
				store.Plant("svc", "h:2", nil)
				s := until(k.view, func(s registry.Snapshot) bool { return s.Err == nil })
				time.Sleep(time.Minute)
				if s := fmt.Sprint(s.Instances, k.view.Snapshot().Instances); s != "[{svc h:2 h:2 map[]}] [{svc h:2 h:2 map[]}]" {
					t.Errorf("one has come: %s", s)
				}
				return
			}
			s := until(k.view, func(s registry.Snapshot) bool { return s.Err == nil })
			if d := time.Since(healed); len(s.Instances) > 0 || d < hold || d > hold+registry.MaxBackoff || !s.Confirmed.Equal(time.Now()) {
				t.Errorf("%+v after %v, want nobody after %v", s, d, hold)
			}
			time.Sleep(time.Minute)
			if names := files(t, dir); len(names) > 0 {
				t.Errorf("files: %v", names)
			}
		})
	}
}

// A program that has not heard of the registry since it wrote the file, or that ends
// while nothing is certain, leaves the file to those who know better.
func TestCacheIsNotWrittenAgain(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "svc.view")
	synctest.Test(t, func(t *testing.T) {
		store := memreg.NewStore()
		store.Plant("svc", "h:1", nil)
		k := keeping(t, store, dir, false)
		until(k.view, func(s registry.Snapshot) bool { return len(s.Instances) == 1 })
		k.link.Cut()
		time.Sleep(time.Hour)
		newer := []byte("of another program")
		if err := os.WriteFile(path, newer, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		k.end()
		if data, err := os.ReadFile(path); err != nil || !bytes.Equal(data, newer) {
			t.Errorf("the file was written again in an outage: %s, %v", data, err)
		}
	})
}

// A crash leaves what was confirmed a few seconds before; a burst of changes is one
// write.
func TestCacheIsWrittenSoon(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "svc.view")
	synctest.Test(t, func(t *testing.T) {
		store := memreg.NewStore()
		k := keeping(t, store, dir, false)
		writes, last := 0, ""
		for i := range 200 {
			store.Plant("svc", fmt.Sprintf("h:%d", i+1), nil)
			time.Sleep(50 * time.Millisecond)
			synctest.Wait()
			if data, _ := os.ReadFile(path); string(data) != last {
				writes, last = writes+1, string(data)
			}
		}
		if writes < 8 || writes > 10 {
			t.Errorf("%d writes in 10 s", writes)
		}
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		if data, _ := os.ReadFile(path); !strings.Contains(string(data), `"h:200"`) {
			t.Error("the last change was not written")
		}
		_ = k
	})
}

// What is not a whole set of this service is reported once, and not used.
func TestCacheUnreadable(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "svc.view")
	var good string
	synctest.Test(t, func(t *testing.T) {
		store := memreg.NewStore()
		store.Plant("svc", "h:1", nil)
		k := keeping(t, store, dir, false)
		until(k.view, func(s registry.Snapshot) bool { return len(s.Instances) == 1 })
		k.end()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		good = string(data)
	})
	for name, data := range map[string]string{
		"empty":           "",
		"cut short":       good[:len(good)-1],
		"one bit":         strings.Replace(good, "h:1", "h:3", 1),
		"another version": strings.Replace(good, "view 1", "view 2", 1),
		"another sum":     strings.Replace(good, "view 1 ", "view 1 0", 1),
		"something else":  "{}",
		"no rest":         good[:strings.IndexByte(good, '\n')],
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				store := memreg.NewStore()
				store.Plant("svc", "h:9", nil)
				k := keeping(t, store, dir, true)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if err := k.view.Wait(ctx); err == nil || len(k.view.Snapshot().Instances) > 0 {
					t.Errorf("Wait: %v; the set is %+v", err, k.view.Snapshot())
				}
				k.link.Heal()
				until(k.view, func(s registry.Snapshot) bool { return s.Err == nil && len(s.Instances) == 1 })
				k.end()
				if n := strings.Count(k.log.String(), "cached set cannot be used"); n != 1 {
					t.Errorf("it was logged %d times:\n%s", n, &k.log)
				}
			})
			os.Remove(path)
		})
	}
	t.Run("of another service", func(t *testing.T) {
		if err := os.WriteFile(filepath.Join(dir, "other.view"), []byte(good), 0o600); err != nil {
			t.Fatal(err)
		}
		reg := registry.New(memreg.NewStore().Conn(), quiet)
		defer reg.Close()
		v, err := registry.Follow(t.Context(), reg, "other", &registry.FollowOptions{Cache: dir, Logger: quietly.Logger})
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		if err := v.Wait(t.Context()); err != nil || len(v.Snapshot().Instances) > 0 {
			t.Errorf("%v, %+v", err, v.Snapshot())
		}
	})
}

// A directory that cannot be written is reported once, and does no harm.
func TestCacheUnwritable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		store := memreg.NewStore()
		k := keeping(t, store, file, false)
		for i := range 5 {
			store.Plant("svc", fmt.Sprintf("h:%d", i+1), nil)
			until(k.view, func(s registry.Snapshot) bool { return len(s.Instances) == i+1 })
			time.Sleep(time.Minute)
		}
		k.end()
		if n := strings.Count(k.log.String(), "cannot be cached"); n != 1 {
			t.Errorf("it was logged %d times:\n%s", n, &k.log)
		}
	})
}

// once is a registry of somebody else, whose watch ends with an error after its first
// set, and yields none after that.
type once struct {
	registry.Registry
	over bool
}

func (r *once) Watch(ctx context.Context, service string) iter.Seq2[registry.Snapshot, error] {
	return func(yield func(registry.Snapshot, error) bool) {
		in := registry.Instance{Service: service, ID: "x", Addr: "h:1"}
		if !r.over && !yield(registry.Snapshot{Instances: []registry.Instance{in}, Confirmed: time.Now()}, nil) {
			return
		}
		r.over = true
		time.Sleep(time.Second)
		yield(registry.Snapshot{}, errors.New("broken"))
	}
}

// A watch that has ended confirms nothing: the set stays, in the file too, with its time.
func TestCacheOfAWatchThatEnds(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		opts := &registry.FollowOptions{Cache: dir, Logger: quietly.Logger}
		v := following(t, &once{}, opts)
		time.Sleep(time.Hour)
		if snap := v.Snapshot(); len(snap.Instances) != 1 || snap.Err == nil || v.Age() != time.Hour-time.Second {
			t.Errorf("%+v is %v old", snap, v.Age())
		}
		v.Close()
		snap := following(t, &once{over: true}, opts).Snapshot()
		if len(snap.Instances) != 1 || !snap.Confirmed.Equal(begun.Add(time.Second)) {
			t.Errorf("the file has %+v", snap)
		}
	})
}
