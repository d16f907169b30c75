package registry

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestParseURL(t *testing.T) {
	for _, tt := range []struct {
		raw, host, path, query string
	}{
		{"zk://h", "h", "", ""},
		{"ZK://h:1", "h:1", "", ""},
		{"zk://h1:2181,h2:2181,[::1]:2181/", "h1:2181,h2:2181,[::1]:2181", "", ""},
		{"zk://h1,h2/a/b.c/?x=1&y=2", "h1,h2", "/a/b.c", "x=1&y=2"},
		{"zk://h?x=http://h/", "h", "", "x=http://h/"},
		{"mem:", "", "", ""},
		{"mem://", "", "", ""},
		{"mem:///root", "", "/root", ""},
		{"mem:/root", "", "/root", ""},
		{"mem://name", "name", "", ""},
	} {
		u, err := parseURL(tt.raw)
		if err != nil {
			t.Errorf("%s: %v", tt.raw, err)
			continue
		}
		scheme, _, _ := strings.Cut(strings.ToLower(tt.raw), ":")
		if u.Scheme != scheme || u.Host != tt.host || u.Path != tt.path || u.RawQuery != tt.query || u.User != nil {
			t.Errorf("%s: %#v", tt.raw, u)
		}
	}
}

func TestParseURLRefuses(t *testing.T) {
	for raw, why := range map[string]string{
		"":                     "no scheme",
		"h:2181,h2:2181":       "want ",
		"/root":                "no scheme",
		"//h/root":             "no scheme",
		"zk:h:2181":            "two slashes",
		"localhost:2181":       `"localhost:2181": it has no scheme`,
		"10.0.0.1:2181":        `"10.0.0.1:2181": it has no scheme`,
		"zk://h:1/ro%zz":       `"zk://h:1/ro%zz": invalid URL escape "%zz"; want scheme://host:port`,
		"zk://h:1/r#f":         `"zk://h:1/r#f": a #`,
		"zk://h/#a":            "# has no meaning",
		"zk://h//":             "empty",
		"zk://h/a//b":          "empty",
		"zk://h/../b":          "relative path",
		"zk://h/a b":           "is not among",
		"zk://h/a%00":          "is not among",
		"zk://h/%zz":           "want scheme://host:port",
		"zk://h/10.0.0.7:80":   "is not among", // an ID, and no service
		"zk://h/" + long:       "over 128",
		"1zk://h":              "want scheme://host:port",
		"zk://user@h":          "user names and passwords",
		"zk://user:hunter2@h":  "user names and passwords",
		"zk://:hunter2@h1,h2/": "user names and passwords",
	} {
		_, err := parseURL(raw)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v; want ErrInvalid and %q", raw, err, why)
		}
	}
}

var long = strings.Repeat("x", maxName+1)

// However a URL with a password in it is mistyped, an error ends up in logs.
var passwords = []string{
	"zk://user:hunter2@h:2181/root",
	"zk://h1:2181,user:hunter2@h2:2181",
	"zk://user:pass/hunter2@h:2181",
	"zk://user:pass?hunter2@h:2181",
	"zk://user:pass#hunter2@h:2181",
	"zk:///user:hunter2@h:2181",
	"zk:/user:hunter2@h:2181",
	"zk:user:hunter2@h:2181",
	"//user:hunter2@h:2181",
	"user:hunter2@h:2181",
	"zk//user:hunter2@h:2181",
	"zk://h/%zz?auth=user:hunter2@h",
}

func TestParseURLHidesPasswords(t *testing.T) {
	for _, raw := range passwords {
		_, err := parseURL(raw)
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s\n\tgave %v; want an error without the password", raw, err)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	for _, raw := range append([]string{
		"", ":", "://", "mem:", "mem://name", "mem:///a", "zk://h1:2181,[::1]:2181/a/b?x=1", "zk://h/../x", "zk://h/%2e%2e", "zk://h/a%2Fb/",
		"zk://h/#f", "zk://h?a;b", "zk:opaque", "ZK://H//", "zk://%zz/", "a://b://c", "zk://h/a?u=x://y@z",
	}, passwords...) {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := parseURL(raw)
		if err != nil {
			if u != nil || !errors.Is(err, ErrInvalid) {
				t.Fatalf("%q: %v, %v; want ErrInvalid", raw, u, err)
			}
			if strings.Contains(raw, "hunter2@") && strings.Contains(err.Error(), "hunter2") {
				t.Fatalf("%q: the password is quoted back: %v", raw, err)
			}
			return
		}
		if u.Scheme == "" || u.User != nil || strings.ContainsAny(u.Host, "@/?#") || u.Opaque != "" || u.Fragment != "" {
			t.Fatalf("%q: accepted as %#v", raw, u)
		}
		if u.Path != "" {
			if u.Path[0] != '/' {
				t.Fatalf("%q: the path is %q", raw, u.Path)
			}
			for name := range strings.SplitSeq(u.Path[1:], "/") {
				if err := checkName("name", name, false); err != nil {
					t.Fatalf("%q: the path is %q: %v", raw, u.Path, err)
				}
			}
		}
		if servers, err := Servers(u, "2181"); err == nil {
			for _, s := range servers {
				if err := checkAddr(s); err != nil {
					t.Fatalf("%q: server %q: %v", raw, s, err)
				}
			}
		}
		_, _ = Params(u, "x")
	})
}

func TestServers(t *testing.T) {
	for host, want := range map[string][]string{
		"h":                   {"h:2181"},
		"h:1":                 {"h:1"},
		"h1,h2:1,10.0.0.7":    {"h1:2181", "h2:1", "10.0.0.7:2181"},
		"[::1]":               {"[::1]:2181"},
		"[::1]:1,[fe80::2]:3": {"[::1]:1", "[fe80::2]:3"},
		"::1":                 {"[::1]:2181"},
		"":                    nil,
		",":                   nil,
		"h1,,h2":              nil,
		"h1,":                 nil,
		"h:":                  nil,
		"h:0":                 nil,
		"h:70000":             nil,
		":2181":               nil,
		"h:2181:2182":         nil, // not an IPv6 address
		"h1:2181;h2:2181":     nil,
		"h1 h2":               nil,
		"[::1":                nil,
		"[]":                  nil,
	} {
		got, err := Servers(&url.URL{Scheme: "zk", Host: host}, "2181")
		if !slices.Equal(got, want) || (err == nil) != (want != nil) || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %q, %v; want %q", host, got, err, want)
		}
	}
}

func TestUnknownScheme(t *testing.T) {
	for _, tt := range []struct {
		scheme string
		known  []string
		want   string
	}{
		{"zk", []string{"consul", "mem"}, `invalid URL: scheme "zk" is not linked into this program (linked in: consul, mem): add  import _ "github.com/go-rollcall/registry/zkreg"`},
		{"mem", nil, `invalid URL: scheme "mem" is not linked into this program (linked in: none is): add  import _ "github.com/go-rollcall/registry/memreg"`},
		{"file", []string{"zk"}, `invalid URL: scheme "file" is not linked into this program (linked in: zk): import the package of a backend`},
	} {
		err := unknownScheme(tt.scheme, tt.known)
		if !errors.Is(err, ErrInvalid) || err.Error() != tt.want {
			t.Errorf("\n got %v\nwant %s", err, tt.want)
		}
	}
}
