package driver

import (
	"errors"
	"fmt"

	"github.com/coordinator-ha/coordinator/rebind"
)

// This file declares the errors of reading and writing state, beside those of package rebind.

// Errors of a store beside those of package rebind.
var (
	// ErrDenied is returned when the store answers and denies this node access: its
	// credentials, certificates or permissions are not right. It is an
	// [rebind.ErrUnavailable] too, since they can be put right while the node runs.
	ErrDenied error = unavailable("store denies access")
	// ErrStoreCorrupt is returned while the store takes no writes because it has found
	// its members' data to differ. It is an [rebind.ErrUnavailable] too.
	ErrStoreCorrupt error = unavailable("store is corrupt")
	// ErrAhead is returned for a revision that the store has not come to.
	ErrAhead = errors.New("revision is ahead of the store")
	// ErrForeignPlane is returned by a node that finds another plane than its own under the
	// name, or one in the layout of a newer program.
	ErrForeignPlane = errors.New("not this node's plane")
	// ErrNoState is returned by a node that requires state at its start and finds none.
	ErrNoState = errors.New("no state")
	// ErrRestored is returned when the store turns out to be older than it was, or
	// another one: it was restored from a backup.
	ErrRestored = errors.New("store restored")
)

// unavailable is an ErrUnavailable that does not read as if the store were away.
type unavailable string

// Error implements error.
func (u unavailable) Error() string { return string(u) }

// Is makes the error an [rebind.ErrUnavailable].
func (unavailable) Is(target error) bool { return target == rebind.ErrUnavailable }

// Errors of reading and writing mementos that only a store and what is between it and a
// program tell apart. None of them has changed anything.
var (
	// ErrFenced is returned when the store refused a write because its term is
	// over. A retry, under this term or another, is a bug.
	ErrFenced = errors.New("fenced: the term is over")
	// ErrStoreFull is returned while the store has no room; deletes still work.
	ErrStoreFull = errors.New("store is full")
	// ErrCompacted is returned when the store no longer has the revision asked for.
	ErrCompacted = errors.New("revision is compacted")
	// ErrClosed is returned for a write that was not sent, because its term is
	// over or about to end. Whoever leads next may be asked to do it.
	ErrClosed = errors.New("not taking writes")
)

// ConflictError is the [rebind.ErrConflict] of one operation of a delta.
type ConflictError struct {
	// Op is the index of the operation in its delta.
	Op   int
	Name rebind.Name
	// Expect is what the operation asked for, Actual the modified revision the
	// memento really has, 0 if it is not there.
	Expect rebind.Revision
	Actual rebind.Revision
}

// Error implements error. A delta touches a memento once, so the name says which
// operation it is, also where there is only one and nobody has counted.
func (e *ConflictError) Error() string {
	actual := fmt.Sprintf("is at revision %d", e.Actual)
	if e.Actual == 0 {
		actual = "does not exist"
	}
	return fmt.Sprintf("%s %s, expected %s", e.Name, actual, expected(e.Expect))
}

// expected says what an operation expects, see [rebind.Op.Expect].
func expected(r rebind.Revision) string {
	switch r {
	case 0:
		return "anything"
	case rebind.Absent:
		return "none"
	case rebind.Present:
		return "one to exist"
	default:
		return fmt.Sprintf("revision %d", r)
	}
}

// Is makes the error an [rebind.ErrConflict].
func (e *ConflictError) Is(target error) bool { return target == rebind.ErrConflict }

// ErrTooLarge is returned for a payload or a delta over a size limit. It is an
// [rebind.ErrInvalid] too.
var ErrTooLarge error = tooLarge{}

type tooLarge struct{}

// Error implements error.
func (tooLarge) Error() string { return "too large" }

// Is makes the error an [rebind.ErrInvalid].
func (tooLarge) Is(target error) bool { return target == rebind.ErrInvalid }
