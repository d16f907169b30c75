package httpreg_test

import (
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/balance"
	"github.com/go-rollcall/registry/httpreg"
)

// With a cache, a program that starts while the registry is away has its requests
// answered at once.
func TestBeginsWithCache(t *testing.T) {
	w := newWorld(t)
	w.serve("a", echo)
	dir := t.TempDir()
	for _, away := range []bool{false, true} {
		link := w.store.Conn()
		if away {
			link.Cut()
		}
		log := slog.New(slog.DiscardHandler)
		reg := registry.New(link, &registry.Options{Logger: log})
		tr := httpreg.NewTransport(reg, &httpreg.Options{Cache: dir, Balance: &balance.Options{Logger: log}})
		if err := get(t, &http.Client{Transport: tr}, 5*time.Second); err != nil {
			t.Errorf("the registry is away: %v, and: %v", away, err)
		}
		tr.Close() // writes the file
		reg.Close()
	}
}
