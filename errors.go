package registry

import (
	"errors"
	"fmt"
	"strings"
)

// The errors that callers branch on. They come wrapped in an [*Error]: use
// [errors.Is].
var (
	// ErrClosed: the Registry was closed, or the registration was withdrawn.
	ErrClosed = errors.New("closed")
	// ErrInvalid: the input cannot be used, or the registry cannot do what it asks for.
	ErrInvalid = errors.New("invalid")
	// ErrDenied: the registry refuses this client. Check its credentials and
	// its rights on the path.
	ErrDenied = errors.New("denied by the registry")
	// ErrTooLarge: a record over MaxRecord, a set over MaxInstances, or a request over
	// the registry's own limits.
	ErrTooLarge = errors.New("too large")
	// ErrSuperseded: a newer registration has the same service and ID.
	ErrSuperseded = errors.New("superseded by a newer registration of the same service and ID")
	// ErrSessionLost: the server has ended the session, and with it every
	// record that the session held.
	ErrSessionLost = errors.New("session lost")
)

// An Error says what failed, on which service and instance, and where.
type Error struct {
	Op      string // "register", "lookup", "watch", …
	Service string // "" if the operation concerns none
	ID      string // "" if it concerns none
	Backend string // the backend and its servers; "" for invalid input
	Err     error  // why; never nil
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("registry: ")
	b.WriteString(e.Op)
	if e.Service != "" {
		fmt.Fprintf(&b, " %q", e.Service)
	}
	if e.ID != "" {
		fmt.Fprintf(&b, " instance %q", e.ID)
	}
	if e.Backend != "" {
		b.WriteString(" at ")
		b.WriteString(e.Backend)
	}
	b.WriteString(": ")
	b.WriteString(e.Err.Error())
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// refusalOf returns which of the sentinels for a refusal err wraps, or nil.
func refusalOf(err error) error {
	for _, kind := range []error{ErrDenied, ErrInvalid, ErrTooLarge} {
		if errors.Is(err, kind) {
			return kind
		}
	}
	return nil
}

// permanent reports whether trying again soon cannot help.
func permanent(err error) bool { return refusalOf(err) != nil }
