package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"path"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// The bytes are what other programs and later versions read.
func TestEncode(t *testing.T) {
	for _, tt := range []struct {
		in    Instance
		owner string
		want  string
	}{
		{Instance{Addr: "h:1"}, "", `{"addr":"h:1"}`},
		{Instance{Addr: "h:1", Meta: map[string]string{}}, "o", `{"addr":"h:1","owner":"o"}`},
		{Instance{Addr: "[fe80::1%eth0]:1", Meta: map[string]string{"b": "2", "a": "<&>", "c": "é\n"}}, "o",
			`{"addr":"[fe80::1%eth0]:1","meta":{"a":"<&>","b":"2","c":"é\n"},"owner":"o"}`},
	} {
		got, err := encode(tt.in, tt.owner)
		if err != nil || string(got) != tt.want {
			t.Errorf("encode(%v):\n got %s, %v\nwant %s", tt.in, got, err, tt.want)
		}
		if o := OwnerOf(got); o != tt.owner {
			t.Errorf("OwnerOf(%s) = %q, want %q", got, o, tt.owner)
		}
	}
}

func FuzzEncode(f *testing.F) {
	for _, s := range []string{"", "plain ~", "<&>", `"\`, "é\n", "\u2028", "\x7f", "\x1f", "\ufffd"} {
		f.Add("h:1", s, s, s, "o")
	}
	f.Fuzz(func(t *testing.T, addr, k1, k2, v, owner string) {
		in := Instance{Addr: addr, Meta: map[string]string{k1: v, k2: k1}}
		if !utf8.ValidString(addr+owner) || checkMeta(in.Meta) != nil {
			return
		}
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(wire{in.Addr, in.Meta, owner}); err != nil {
			t.Fatal(err)
		}
		want := strings.TrimSuffix(b.String(), "\n")
		if got, err := encode(in, owner); len(want) <= MaxRecord && (err != nil || string(got) != want) {
			t.Fatalf("encode(%q):\n got %s, %v\nwant %s", in, got, err, want)
		}
	})
}

func TestEncodeLimit(t *testing.T) {
	in := Instance{Addr: "h:1", Meta: map[string]string{"k": ""}}
	empty, err := encode(in, "o")
	if err != nil {
		t.Fatal(err)
	}
	in.Meta["k"] = strings.Repeat("x", MaxRecord-len(empty))
	if v, err := encode(in, "o"); err != nil || len(v) != MaxRecord {
		t.Errorf("a record of MaxRecord bytes: %d bytes, %v", len(v), err)
	}
	in.Meta["k"] += "x"
	if _, err := encode(in, "o"); !errors.Is(err, ErrTooLarge) {
		t.Errorf("one byte more: %v, want ErrTooLarge", err)
	}
}

func TestDecode(t *testing.T) {
	for _, tt := range []struct {
		id, value string
		addr      string // "": it is not one of ours
		meta      map[string]string
	}{
		{"10.0.0.7:80", ``, "10.0.0.7:80", nil}, // the oldest layout
		{"x", ``, "", nil},
		{"x", `{"addr":"h:1"}`, "h:1", nil},
		{"x", " {\"addr\":\"h:1\"}\n", "h:1", nil}, // written by hand
		{"x", `{"addr":"h:1","meta":{"k":"v"},"owner":"o","later":[1]}`, "h:1", map[string]string{"k": "v"}},
		{"10.0.0.7:80", `{"meta":{"k":"v"}}`, "", nil},
		{"10.0.0.7:80", `null`, "", nil},
		{"10.0.0.7:80", ` `, "", nil},
		{"x", `{"addr":"h:1"}{"addr":"h:2"}`, "", nil},
		{"x", `{"addr":"h:1"`, "", nil},
		{"x", `{"addr":1}`, "", nil},
		{"x", `{"addr":"h:1","meta":{"k":1}}`, "", nil},
		{"x", `["h:1"]`, "", nil},
		{"x", "\xff", "", nil},
		{"x", strings.Repeat("[", 16000), "", nil},
		{"x", `{"addr":"h:1","later":` + strings.Repeat("[", 8000) + strings.Repeat("]", 8000) + `}`, "h:1", nil},
		{"a b", `{"addr":"h:1"}`, "", nil},
		{"..", `{"addr":"h:1"}`, "", nil},
		{"x", `{"addr":"h:1"` + strings.Repeat(" ", MaxRecord-14) + `}`, "h:1", nil},
		{"x", `{"addr":"h:1"` + strings.Repeat(" ", MaxRecord-13) + `}`, "", nil},
	} {
		in, err := decode("svc", tt.id, []byte(tt.value))
		want := Instance{"svc", tt.id, tt.addr, tt.meta}
		if ok := tt.addr != ""; ok != (err == nil) || ok && !reflect.DeepEqual(in, want) {
			t.Errorf("decode(%q, %.50q) = %v, %v; want %v", tt.id, tt.value, in, err, want)
		}
	}
}

func TestOwnerOfForeignRecords(t *testing.T) {
	for _, v := range []string{``, `{}`, `null`, `{"owner":1}`, `{"owner":"o"`, "\xff", `"o"`} {
		if o := OwnerOf([]byte(v)); o != "" {
			t.Errorf("OwnerOf(%q) = %q, want none", v, o)
		}
	}
}

func TestCheckAddr(t *testing.T) {
	for addr, ok := range map[string]bool{
		"10.0.0.7:1": true, "host.example:65535": true, "[::1]:80": true, "[fe80::1%eth0]:80": true, "bücher.example:80": true,
		"": false, "host": false, "host:": false, "host:0": false, "host:65536": false, "host:70000": false, "host:-1": false,
		"host:+80": false, "host:0x50": false, "host: 80": false, "host:http": false, ":80": false, "[]:80": false,
		"::1:80": false, "[::1]": false, "a b:80": false, "a\n:80": false, "a\x7f:80": false, "a/b:80": false, "\xff:80": false,
		"http://host:80": false,
	} {
		if err := checkAddr(addr); (err == nil) != ok {
			t.Errorf("checkAddr(%q): %v; accepting it is %v", addr, err, ok)
		} else if err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("checkAddr(%q): %v, want ErrInvalid", addr, err)
		}
	}
}

func TestIDIsTheAddress(t *testing.T) {
	in, err := normalize(Instance{Service: "s", Addr: "h:1"})
	if err != nil || in.ID != "h:1" {
		t.Fatalf("%+v, %v", in, err)
	}
	_, err = normalize(Instance{Service: "s", Addr: "bücher.example:1"})
	if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "set one") {
		t.Errorf("an address that is no ID: %v; want ErrInvalid and what to do", err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, v := range []string{
		``, `null`, `{}`, `{"addr":"h:1"}`, `{"addr":"h:1","meta":{"k":"v","<":"\u2028"},"owner":"o"}`, `{"ADDR":"h:1"}`,
		`{"addr":"[fe80::1%eth0]:65535"}`, `{"addr":"h:1","addr":"h:0"}`, `{"addr":"\ud800:1"}`, "{\"addr\":\"\xff:1\"}",
		`{"addr":"h:1","meta":{"k":null}}`, `{"addr":"h:1","meta":null,"owner":{}}`, `{"addr":"h:\u0031"}`, `{"addr":"h:1\n"}`,
	} {
		f.Add("10.0.0.7:80", []byte(v), uint16(0))
		f.Add("a b", []byte(v), uint16(MaxRecord))
	}
	f.Fuzz(func(t *testing.T, id string, value []byte, pad uint16) {
		value = append(bytes.Clone(value), bytes.Repeat([]byte(" "), int(pad))...) // JSON still, and perhaps too long
		before := bytes.Clone(value)
		in, err := decode("svc", id, value)
		owner := OwnerOf(value)
		if !bytes.Equal(value, before) {
			t.Fatal("the record was modified")
		}
		if err != nil {
			return
		}
		if len(value) > MaxRecord {
			t.Fatalf("%d bytes were accepted", len(value))
		}
		if in.Service != "svc" || in.ID != id || checkName("ID", id, true) != nil || checkAddr(in.Addr) != nil || checkMeta(in.Meta) != nil {
			t.Fatalf("accepted: %+v", in)
		}
		if _, err := normalize(in); err != nil {
			t.Fatalf("read, and could not be registered: %v", err)
		}
		once, err := encode(in, owner)
		if errors.Is(err, ErrTooLarge) {
			return // what the decoder mended is longer than it was
		}
		if err != nil {
			t.Fatalf("read, and could not be written: %v", err)
		}
		if bytes.ContainsAny(once, "\n\r") || !utf8.Valid(once) || !json.Valid(once) {
			t.Fatalf("not one line of JSON: %q", once)
		}
		again, err := decode("svc", id, once)
		if err != nil || again.Addr != in.Addr || !maps.Equal(again.Meta, in.Meta) || OwnerOf(once) != owner {
			t.Fatalf("written: %+v of %q; read: %+v of %q, %v", in, owner, again, OwnerOf(once), err)
		}
		if twice, err := encode(again, owner); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("the same record: %s and %s, %v", once, twice, err)
		}
	})
}

func FuzzNames(f *testing.F) {
	for _, s := range []string{
		"", ".", "..", "...", "go_servers", "a/b", "/", "a b", "a\x00", "a\n", "é", "\xff", "\u2028", "10.0.0.7:80", "[::1]:80",
		"[fe80::1%eth0]:80", "%2e%2e", "%2f", "%", "a?b", "a#b", "a\\b", "-", strings.Repeat("x", 128), strings.Repeat("x", 129),
	} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, s string, id bool) {
		err := checkName("name", s, id)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("%q: %v, want ErrInvalid", s, err)
			}
			return
		}
		if s == "" || len(s) > 128 || s == "." || s == ".." {
			t.Fatalf("accepted: %q", s)
		}
		for i := range len(s) {
			// ZooKeeper, etcd's tools, Consul's URLs and a shell show these as they are.
			if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("/\\?#&=+\"'`<>|;*~$,", c) >= 0 {
				t.Fatalf("accepted: %q", s)
			}
		}
		if strings.ContainsAny(s, ":[]%") && !id {
			t.Fatalf("accepted as a service: %q", s)
		}
		if p := path.Join("/top/svc", s); p != "/top/svc/"+s {
			t.Fatalf("%q as a path: %s", s, p)
		}
		u, err := url.Parse("http://h/kv/" + url.PathEscape(s))
		if err != nil || u.Path != "/kv/"+s || u.RawQuery != "" || u.Fragment != "" {
			t.Fatalf("%q in a URL: %v, %v", s, u, err)
		}
	})
}
