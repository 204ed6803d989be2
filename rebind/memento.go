package rebind

import (
	"bytes"
	"fmt"
	"mime"
	"strings"
	"sync/atomic"
)

// This file holds mementos: their names, their content, and the rules for both.

// Revision is a position in the store's history. Each committed change of the store raises
// it by one; 0 means none.
type Revision int64

// Name identifies a memento as "type/id". Neither part can hold a slash, so the
// order of names is the order of the store's keys.
type Name string

const (
	maxType = 63
	maxID   = 200
)

// NewName makes a name of a type and an id. The error wraps [ErrInvalid].
func NewName(typ, id string) (Name, error) {
	if err := checkName(typ, id); err != nil {
		return "", err
	}
	return Name(typ + "/" + id), nil
}

// checkName returns an error if the parts of a name break the rules. It looks at each byte
// itself: a load checks a million names, and with a regular expression that was an eighth
// of its time.
func checkName(typ, id string) error {
	if len(typ) == 0 || len(typ) > maxType || !lower(typ[0]) || !all(typ, inType) {
		return fmt.Errorf("%w: memento type %q: use up to 63 of a-z 0-9 _ - and begin with a letter", ErrInvalid, clip(typ))
	}
	if len(id) == 0 || len(id) > maxID || !all(id, inID) || id == "." || id == ".." {
		return fmt.Errorf("%w: memento id %q: use 1 to 200 of A-Z a-z 0-9 . _ ~ - and more than one or two dots", ErrInvalid, clip(id))
	}
	return nil
}

func lower(c byte) bool { return 'a' <= c && c <= 'z' }

func inType(c byte) bool { return lower(c) || '0' <= c && c <= '9' || c == '_' || c == '-' }

func inID(c byte) bool { return inType(c) || 'A' <= c && c <= 'Z' || c == '.' || c == '~' }

// all reports whether each byte of s is in a set.
func all(s string, in func(byte) bool) bool {
	for i := range len(s) {
		if !in(s[i]) {
			return false
		}
	}
	return true
}

// Check returns an error if n is not a valid name. The error wraps [ErrInvalid].
func (n Name) Check() error {
	typ, id, ok := strings.Cut(string(n), "/")
	if !ok {
		return fmt.Errorf("%w: memento name %q: write it as type/id", ErrInvalid, clip(string(n)))
	}
	return checkName(typ, id)
}

// clip shortens input that is quoted in an error.
func clip(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}

// Type returns the part before the slash.
func (n Name) Type() string {
	typ, _, _ := strings.Cut(string(n), "/")
	return typ
}

// ID returns the part after the slash.
func (n Name) ID() string {
	_, id, _ := strings.Cut(string(n), "/")
	return id
}

// Content is what a program stores in a memento: all of it but the name and the place in
// the store's history.
type Content struct {
	// Parent is the name of the memento that this one belongs to, or empty. It is not
	// checked that the parent exists.
	Parent Name
	// ContentType is a media type; empty means application/octet-stream.
	ContentType string
	// Schema is the version of the payload's format, as the program counts it.
	Schema int64
	// Payload is the document itself. Views share it: do not change its bytes.
	Payload []byte
}

// maxContentType bounds the media type, which is stored beside every payload.
const maxContentType = 200

// check returns an error if c breaks a rule other than the limit of its size.
func (c *Content) check() error {
	if c.Parent != "" {
		if err := c.Parent.Check(); err != nil {
			return fmt.Errorf("parent: %w", err)
		}
	}
	if c.Schema < 0 {
		return fmt.Errorf("%w: schema %d is negative", ErrInvalid, c.Schema)
	}
	if c.ContentType == "" {
		return nil
	}
	if len(c.ContentType) > maxContentType {
		return fmt.Errorf("%w: content type is longer than %d bytes", ErrInvalid, maxContentType)
	}
	for _, r := range c.ContentType {
		if r < ' ' || r > '~' {
			return fmt.Errorf("%w: content type %q holds more than printable ASCII", ErrInvalid, clip(c.ContentType))
		}
	}
	base, _, err := mime.ParseMediaType(c.ContentType)
	if err != nil || !strings.Contains(base, "/") {
		return fmt.Errorf("%w: content type %q is not a media type", ErrInvalid, clip(c.ContentType))
	}
	return nil
}

// Memento is one persisted document, as the store holds it. Readers share it, and it never
// changes.
type Memento struct {
	Name Name
	Content
	// Created and Modified are the revisions that first and last put it.
	Created, Modified Revision
	// Version counts the puts since it was created, from 1.
	Version int64
	// By is a hash of the [Delta.ID] that last put it, as the store's driver computes it.
	// It has no meaning outside this process.
	By uint64

	decoded atomic.Pointer[decoded] // the payload as a [Kind] has decoded it
}

// Equal reports whether all exported fields of two mementos are equal.
func (m *Memento) Equal(to *Memento) bool {
	if m == nil || to == nil {
		return m == to
	}
	return m.Name == to.Name && m.Parent == to.Parent && m.ContentType == to.ContentType && m.Schema == to.Schema &&
		bytes.Equal(m.Payload, to.Payload) &&
		m.Created == to.Created && m.Modified == to.Modified && m.Version == to.Version && m.By == to.By
}

// Size is the number of bytes of the name and the payload, as sums of memory count them.
func (m *Memento) Size() int64 { return int64(len(m.Name) + len(m.Payload)) }
