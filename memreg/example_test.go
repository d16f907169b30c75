package memreg_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-rollcall/registry"
	"github.com/go-rollcall/registry/memreg"
)

// A phonebook is a service under test: it follows the servers that its users
// may call, and tells them how good its knowledge is.
type phonebook struct {
	pages chan string // what a user is told, at each change
	stop  context.CancelFunc
}

func newPhonebook(reg registry.Registry) *phonebook {
	ctx, cancel := context.WithCancel(context.Background())
	p := &phonebook{make(chan string), cancel}
	go func() {
		defer close(p.pages)
		for snap, err := range reg.Watch(ctx, "go_servers") {
			if err != nil {
				return
			}
			page := fmt.Sprintf("%d servers", len(snap.Instances))
			switch {
			case errors.Is(snap.Err, registry.ErrDenied):
				page += ", and we may not ask"
			case snap.Err != nil:
				page += ", perhaps"
			}
			select {
			case p.pages <- page:
			case <-ctx.Done():
				return
			}
		}
	}()
	return p
}

// until waits for a page: a test waits for what happens, and never for a time.
func (p *phonebook) until(want string) string {
	for page := range p.pages {
		if page == want {
			return "told: " + page
		}
	}
	return "closed"
}

func (p *phonebook) close() {
	p.stop()
	for range p.pages {
	}
}

// A short TTL makes outages short in real time. In a bubble of testing/synctest
// the default does as well.
var options = &registry.Options{
	TTL:    300 * time.Millisecond,
	Logger: slog.New(slog.DiscardHandler),
}

// server registers an instance through a link of its own.
func server(store *memreg.Store, addr string) (registry.Registry, *memreg.Conn) {
	link := store.Conn()
	reg := registry.New(link, options)
	if _, err := reg.Register(context.Background(), registry.Instance{Service: "go_servers", Addr: addr}); err != nil {
		panic(err)
	}
	return reg, link
}

// The registry cannot be reached, and is back: the service keeps what it knew.
func ExampleConn_Cut() {
	store := memreg.NewStore()
	one, _ := server(store, "10.0.0.1:80")
	defer one.Close()

	link := store.Conn()
	reg := registry.New(link, options)
	defer reg.Close()
	book := newPhonebook(reg)
	defer book.close()
	fmt.Println(book.until("1 servers"))

	link.Cut()
	fmt.Println(book.until("1 servers, perhaps"))
	two, _ := server(store, "10.0.0.2:80") // meanwhile
	defer two.Close()
	link.Heal()
	fmt.Println(book.until("2 servers"))
	// Output:
	// told: 1 servers
	// told: 1 servers, perhaps
	// told: 2 servers
}

// The network loses packets without a word: calls wait, and are not refused.
func ExampleConn_Freeze() {
	link := memreg.NewStore().Conn()
	reg := registry.New(link, options)
	defer reg.Close()
	link.Freeze()

	ctx, cancel := context.WithCancelCause(context.Background())
	result := make(chan error)
	go func() {
		_, err := reg.Lookup(ctx, "go_servers")
		result <- err
	}()
	away := errors.New("the user went away")
	cancel(away)
	fmt.Println(errors.Is(<-result, away))

	link.Heal()
	list, err := reg.Lookup(context.Background(), "go_servers")
	fmt.Println(list, err)
	// Output:
	// true
	// [] <nil>
}

// A request takes effect, and its answer is lost: Register tells the truth when
// it has found out.
func ExampleConn_DropReply() {
	store := memreg.NewStore()
	one, link := server(store, "10.0.0.1:80")
	defer one.Close()
	reg := registry.New(store.Conn(), options)
	defer reg.Close()
	book := newPhonebook(reg)
	defer book.close()
	fmt.Println(book.until("1 servers"))

	link.DropReply()
	result := make(chan error)
	go func() {
		_, err := one.Register(context.Background(), registry.Instance{Service: "go_servers", Addr: "10.0.0.2:80"})
		result <- err
	}()
	fmt.Println(book.until("2 servers"))
	link.Heal()
	fmt.Println("registered:", <-result)
	// Output:
	// told: 1 servers
	// told: 2 servers
	// registered: <nil>
}

// The server ends a session: the record goes, and comes back by itself.
func ExampleConn_Expire() {
	store := memreg.NewStore()
	one, link := server(store, "10.0.0.1:80")
	defer one.Close()
	reg := registry.New(store.Conn(), options)
	defer reg.Close()
	book := newPhonebook(reg)
	defer book.close()
	fmt.Println(book.until("1 servers"))

	link.Cut() // so that it is away for long enough to be seen
	link.Expire()
	fmt.Println(book.until("0 servers"))
	link.Heal()
	fmt.Println(book.until("1 servers"))
	// Output:
	// told: 1 servers
	// told: 0 servers
	// told: 1 servers
}

// The rights of a client are taken away, and given back.
func ExampleConn_Deny() {
	store := memreg.NewStore()
	one, _ := server(store, "10.0.0.1:80")
	defer one.Close()
	link := store.Conn()
	reg := registry.New(link, options)
	defer reg.Close()
	book := newPhonebook(reg)
	defer book.close()
	fmt.Println(book.until("1 servers"))

	link.Deny()
	fmt.Println(book.until("1 servers, and we may not ask"))
	_, err := reg.Lookup(context.Background(), "go_servers")
	fmt.Println(errors.Is(err, registry.ErrDenied), err)
	link.Allow()
	fmt.Println(book.until("1 servers"))
	// Output:
	// told: 1 servers
	// told: 1 servers, and we may not ask
	// true registry: lookup "go_servers" at memory: denied by the registry: this client was denied
	// told: 1 servers
}

// Other programs write to the registry too, and not always what one expects.
func ExampleStore_Plant() {
	ctx := context.Background()
	store := memreg.NewStore()
	store.Plant("go_servers", "10.0.0.1:80", nil) // the oldest layout: the name is the address
	store.Plant("go_servers", "two", []byte(`{"addr":"10.0.0.2:80","meta":{"zone":"a"}}`))
	store.Plant("go_servers", "three", []byte("out of order"))

	reg := registry.New(store.Conn(), options)
	defer reg.Close()
	for snap, err := range reg.Watch(ctx, "go_servers") {
		if err != nil {
			fmt.Println(err)
			return
		}
		for _, in := range snap.Instances {
			fmt.Println(in.ID, in.Addr, in.Meta)
		}
		fmt.Println("skipped:", snap.Skipped)
		break
	}

	store.Remove("go_servers", "")
	names, err := reg.Services(ctx)
	fmt.Println(names, err)
	// Output:
	// 10.0.0.1:80 10.0.0.1:80 map[]
	// two 10.0.0.2:80 map[zone:a]
	// skipped: 1
	// [] <nil>
}

// The store is restored from a backup: what has come since is registered again.
func ExampleStore_Save() {
	store := memreg.NewStore()
	reg := registry.New(store.Conn(), options)
	defer reg.Close()
	book := newPhonebook(reg)
	defer book.close()
	fmt.Println(book.until("0 servers"))
	restore := store.Save()
	one, _ := server(store, "10.0.0.1:80")
	defer one.Close()
	fmt.Println(book.until("1 servers"))
	restore()
	fmt.Println(book.until("0 servers"))
	fmt.Println(book.until("1 servers"))
	// Output:
	// told: 0 servers
	// told: 1 servers
	// told: 0 servers
	// told: 1 servers
}

// In a bubble an outage of an hour takes no time, and the TTL is the default.
func TestPhonebookInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := memreg.NewStore().Conn()
		reg := registry.New(link, &registry.Options{Logger: options.Logger})
		defer reg.Close()
		book := newPhonebook(reg)
		defer book.close()
		book.until("0 servers")
		link.Cut()
		book.until("0 servers, perhaps")
		time.Sleep(time.Hour)
		began := time.Now()
		link.Heal()
		book.until("0 servers")
		if d := time.Since(began); d > registry.MaxBackoff {
			t.Errorf("the service was back %v after the registry", d)
		}
	})
}

// Requests shows what a service costs the registry.
func ExampleConn_Requests() {
	store := memreg.NewStore()
	link := store.Conn()
	reg := registry.New(link, &registry.Options{TTL: time.Hour}) // no renewal falls into this
	defer reg.Close()
	for range 3 {
		book := newPhonebook(reg)
		fmt.Println(book.until("0 servers"))
		defer book.close()
	}
	fmt.Println("requests of three readers:", link.Requests())
	// Output:
	// told: 0 servers
	// told: 0 servers
	// told: 0 servers
	// requests of three readers: 1
}
