package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

var schemes = struct {
	sync.Mutex
	open map[string]func(context.Context, *url.URL) (Backend, error)
}{open: map[string]func(context.Context, *url.URL) (Backend, error){}}

// imports says what to import for the schemes of this module, for the error of
// a program that did not.
var imports = map[string]string{
	"consul": "github.com/go-rollcall/registry/consulreg",
	"etcd":   "github.com/go-rollcall/registry/etcdreg",
	"mem":    "github.com/go-rollcall/registry/memreg",
	"static": "github.com/go-rollcall/registry/staticreg",
	"zk":     "github.com/go-rollcall/registry/zkreg",
}

// RegisterScheme makes [Open] use open for URLs of this scheme. A backend's
// package calls it in its init. It panics if the scheme is taken, if no URL can have it
// (it begins with a small letter, and goes on with those, digits, "+", "-" and "."), and
// if open is nil.
//
// Open has checked the URL before it calls open: it holds no credentials, and
// its path is "" or valid names, each after a slash. Its Host may name several
// servers, for which there is [Servers]. Its query is unchecked: use [Params].
// The ctx bounds open; a backend connects when it is first used.
func RegisterScheme(scheme string, open func(context.Context, *url.URL) (Backend, error)) {
	if u, err := url.Parse(scheme + ":"); err != nil || u.Scheme != scheme || open == nil {
		panic(fmt.Sprintf("registry: RegisterScheme(%q): no URL has that scheme, or open is nil", scheme))
	}
	schemes.Lock()
	defer schemes.Unlock()
	if schemes.open[scheme] != nil {
		panic("registry: RegisterScheme called twice for " + scheme)
	}
	schemes.open[scheme] = open
}

// Open opens the registry that rawURL names:
//
//	zk://h1:2181,h2:2181/root   ZooKeeper (import …/zkreg)
//	etcd://h1:2379,h2:2379/root etcd (import …/etcdreg)
//	consul://h1:8500/root       Consul (import …/consulreg)
//	mem:  or  mem://name        a store of this process (import …/memreg)
//	static://h1:8897,h2:8897    a fixed list, to read from (import …/staticreg)
//
// The path, empty by default, is where the services are kept in the registry.
// Open does not wait for the registry to answer: Register, Lookup and Watch do.
// Credentials do not belong in a URL, and are refused there. What is wrong with
// rawURL or opts is an [*Error] around ErrInvalid. The caller closes the
// Registry.
func Open(ctx context.Context, rawURL string, opts *Options) (Registry, error) {
	fail := func(err error) (Registry, error) { return nil, &Error{Op: "open", Err: err} }
	u, err := parseURL(rawURL)
	if err != nil {
		return fail(err)
	}
	schemes.Lock()
	open := schemes.open[u.Scheme]
	known := slices.Sorted(maps.Keys(schemes.open))
	schemes.Unlock()
	if open == nil {
		return fail(unknownScheme(u.Scheme, known))
	}
	o := opts.withDefaults()
	if err := checkOptions(&o); err != nil {
		return fail(err)
	}
	b, err := open(ctx, u)
	if err != nil {
		return fail(err)
	}
	return New(b, opts), nil
}

// isScheme reports whether it is that of some backend, linked in or not.
func isScheme(scheme string) bool {
	schemes.Lock()
	defer schemes.Unlock()
	return imports[scheme] != "" || schemes.open[scheme] != nil
}

func unknownScheme(scheme string, known []string) error {
	hint := "import the package of a backend"
	if p := imports[scheme]; p != "" {
		hint = fmt.Sprintf("add  import _ %q", p)
	}
	linked := "none is"
	if len(known) > 0 {
		linked = strings.Join(known, ", ")
	}
	return fmt.Errorf("%w URL: scheme %q is not linked into this program (linked in: %s): %s", ErrInvalid, scheme, linked, hint)
}

// parseURL takes the authority out before it calls url.Parse, which allows one
// host and one port there, where a registry has several servers.
func parseURL(raw string) (*url.URL, error) {
	if strings.Contains(raw, "@") {
		// Not quoted back: what stands before the @ may be a password.
		return nil, fmt.Errorf("%w URL: user names and passwords do not belong in it, nor does an @ (it ends up in process lists and logs)", ErrInvalid)
	}
	given := raw
	head, rest, hierarchical := strings.Cut(raw, "://")
	var authority string
	if hierarchical {
		authority = rest
		if i := strings.IndexAny(rest, "/?#"); i >= 0 {
			authority = rest[:i]
		}
		rest = rest[len(authority):]
		if strings.ContainsFunc(authority, func(r rune) bool { return r <= ' ' || r == 0x7f || r == utf8.RuneError }) {
			return nil, fmt.Errorf("%w URL: its host %q has characters that no host has", ErrInvalid, authority)
		}
		raw = head + "://" + rest
	}
	u, err := url.Parse(raw)
	if err != nil {
		var why *url.Error
		if errors.As(err, &why) {
			err = why.Err // without the URL, which is quoted already
		}
		if !hierarchical {
			err = errors.New("it has no scheme") // host:port, which url.Parse takes for one of its own mistakes
		}
		return nil, fmt.Errorf("%w URL %q: %v; want scheme://host:port,host:port/root", ErrInvalid, given, err)
	}
	u.Host = authority
	switch {
	case u.Scheme == "" || u.Opaque != "" && !isScheme(u.Scheme): // else a host and its port look like one
		return nil, fmt.Errorf("%w URL %q: it has no scheme; want scheme://host:port,host:port/root", ErrInvalid, given)
	case u.Opaque != "":
		return nil, fmt.Errorf("%w URL %q: want %s://, with two slashes", ErrInvalid, given, u.Scheme)
	case u.Fragment != "":
		return nil, fmt.Errorf("%w URL %q: a # has no meaning in it", ErrInvalid, given)
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	if u.Path != "" {
		for name := range strings.SplitSeq(u.Path[1:], "/") {
			if err := checkName("name in the URL's path", name, false); err != nil {
				return nil, err
			}
		}
	}
	return u, nil
}

// Servers returns the servers in u.Host, separated by commas, each as host:port,
// and adds defaultPort where there is none. It is an error if there is none, or if
// one is no address. It is for backends.
func Servers(u *url.URL, defaultPort string) ([]string, error) {
	if u.Host == "" {
		return nil, fmt.Errorf("%w URL: it names no host; want %s://host:%s,host:%s/root", ErrInvalid, u.Scheme, defaultPort, defaultPort)
	}
	if strings.Contains(u.Host, "@") { // not quoted back: see parseURL
		return nil, fmt.Errorf("%w servers of %s: user names and passwords do not belong there, nor does an @", ErrInvalid, u.Scheme)
	}
	var servers []string
	for s := range strings.SplitSeq(u.Host, ",") {
		addr := s
		if bare, ok := strings.CutPrefix(s, "["); ok && strings.HasSuffix(bare, "]") {
			addr = net.JoinHostPort(strings.TrimSuffix(bare, "]"), defaultPort)
		} else if _, err := netip.ParseAddr(s); err == nil || s != "" && !strings.ContainsAny(s, ":[];") {
			addr = net.JoinHostPort(s, defaultPort)
		}
		if err := checkAddr(addr); err != nil {
			return nil, fmt.Errorf("URL %s://%s: %w", u.Scheme, u.Host, err)
		}
		servers = append(servers, addr)
	}
	return servers, nil
}

// Params returns the parameters of u, and an error for one that is not known
// or is given twice.
func Params(u *url.URL, known ...string) (url.Values, error) {
	v, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("%w URL parameters: %v", ErrInvalid, err)
	}
	for _, k := range slices.Sorted(maps.Keys(v)) {
		if !slices.Contains(known, k) {
			takes := "it takes none"
			if len(known) > 0 {
				takes = "it takes " + strings.Join(known, ", ")
			}
			return nil, fmt.Errorf("%w URL parameter %q of %s: %s", ErrInvalid, k, u.Scheme, takes)
		}
		if len(v[k]) > 1 {
			return nil, fmt.Errorf("%w URL parameter %q: it is given %d times", ErrInvalid, k, len(v[k]))
		}
	}
	return v, nil
}
