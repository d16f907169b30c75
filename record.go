package registry

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const maxName = 128

// wire is the value of a record: one line of JSON, the same on every backend.
// Unknown fields are ignored, so that later versions can add some.
type wire struct {
	Addr  string            `json:"addr"`
	Meta  map[string]string `json:"meta,omitempty"`
	Owner string            `json:"owner,omitempty"`
}

// newOwner returns a name that no other registration has, in any process: 128 bits. It is
// no secret, so that the runtime's own generator, which each process seeds from the
// system's, will do: it takes a third of the time.
func newOwner() string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], rand.Uint64())
	binary.BigEndian.PutUint64(b[8:], rand.Uint64())
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// encode writes what encoding/json would, without its reflection: where thousands are
// registered at once, that makes the stack of each of their goroutines grow.
func encode(in Instance, owner string) ([]byte, error) {
	value := appendString(append(make([]byte, 0, 128), `{"addr":`...), in.Addr)
	sep := `,"meta":{`
	for _, k := range slices.Sorted(maps.Keys(in.Meta)) {
		value = appendString(append(value, sep...), k)
		value = appendString(append(value, ':'), in.Meta[k])
		sep = ","
	}
	if len(in.Meta) > 0 {
		value = append(value, '}')
	}
	if owner != "" {
		value = appendString(append(value, `,"owner":`...), owner)
	}
	value = append(value, '}')
	if len(value) > MaxRecord {
		return nil, fmt.Errorf("%w: the record has %d bytes and may have %d: shorten the metadata", ErrTooLarge, len(value), MaxRecord)
	}
	return value, nil
}

// appendString appends s as JSON.
func appendString(value []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return append(value, escape(s)...)
		}
	}
	return append(append(append(value, '"'), s...), '"')
}

func escape(s string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // the registry's own tools show what the user wrote
	_ = e.Encode(s)        // a string has no error
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// decode reads a record, whoever wrote it. An empty value is the oldest layout
// in use, in which the name of the node is the address.
func decode(service, id string, value []byte) (Instance, error) {
	in := Instance{Service: service, ID: id, Addr: id}
	if err := checkName("ID", id, true); err != nil {
		return in, err
	}
	if len(value) > MaxRecord {
		return in, fmt.Errorf("%w: %d bytes, over %d", ErrTooLarge, len(value), MaxRecord)
	}
	if len(value) > 0 {
		var w wire
		if err := json.Unmarshal(value, &w); err != nil {
			return in, fmt.Errorf("not a record: %w", err)
		}
		in.Addr, in.Meta = w.Addr, w.Meta
	}
	return in, checkAddr(in.Addr)
}

// OwnerOf returns the Owner in the value of a record, or "" if it has none. A
// Backend uses it to tell a record of the same registration from another's.
func OwnerOf(value []byte) string {
	var w wire
	if json.Unmarshal(value, &w) != nil {
		return ""
	}
	return w.Owner
}

// normalize applies the defaults of in and checks it. Its metadata stays the caller's.
func normalize(in Instance) (Instance, error) {
	if err := checkName("service", in.Service, false); err != nil {
		return in, err
	}
	if err := checkAddr(in.Addr); err != nil {
		return in, err
	}
	if in.ID == "" {
		in.ID = in.Addr
		if err := checkName("ID", in.ID, true); err != nil {
			return in, fmt.Errorf("%w (the ID defaults to the address: set one)", err)
		}
	}
	if err := checkName("ID", in.ID, true); err != nil {
		return in, err
	}
	return in, checkMeta(in.Meta)
}

// Validate reports whether Register would take in: its error wraps ErrInvalid or
// ErrTooLarge.
func (in Instance) Validate() error {
	n, err := normalize(in)
	if err == nil {
		_, err = encode(n, newOwner())
	}
	if err == nil {
		return nil
	}
	return &Error{Op: "validate", Service: in.Service, ID: in.ID, Err: err}
}

func checkMeta(meta map[string]string) error {
	for k, v := range meta {
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			return fmt.Errorf("%w metadata: key %q or its value is not valid UTF-8", ErrInvalid, k)
		}
	}
	return nil
}

// checkName allows what every registry stores and shows as it was written.
func checkName(what, s string, id bool) error {
	switch {
	case s == "":
		return fmt.Errorf("%w %s: it is empty", ErrInvalid, what)
	case len(s) > maxName:
		return fmt.Errorf("%w %s: %d bytes, over %d", ErrInvalid, what, len(s), maxName)
	case s == "." || s == "..":
		return fmt.Errorf("%w %s %q: it is a relative path", ErrInvalid, what, s)
	}
	for i := range len(s) {
		c := s[i]
		ok := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			strings.IndexByte("._-", c) >= 0 || id && strings.IndexByte(":[]%", c) >= 0
		if !ok {
			allowed := "A-Z a-z 0-9 . _ -"
			if id {
				allowed += " : [ ] %"
			}
			return fmt.Errorf("%w %s %q: byte %q at %d is not among %s", ErrInvalid, what, s, c, i, allowed)
		}
	}
	return nil
}

func checkAddr(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	switch {
	case err != nil:
		return fmt.Errorf("%w address %q: want host:port", ErrInvalid, addr)
	case host == "":
		return fmt.Errorf("%w address %q: it has no host that others could dial", ErrInvalid, addr)
	case !utf8.ValidString(addr) || strings.ContainsFunc(addr, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '/' }):
		return fmt.Errorf("%w address %q: it has characters that no address has", ErrInvalid, addr)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%w address %q: the port must be a number from 1 to 65535", ErrInvalid, addr)
	}
	return nil
}
