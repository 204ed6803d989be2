package rebind

import (
	"errors"
	"fmt"
)

// Errors of reading and writing mementos. All but [ErrUnknown] mean that nothing
// was changed.
var (
	// ErrInvalid is returned for a name, content or delta that breaks the rules,
	// whatever the store holds.
	ErrInvalid = errors.New("invalid")
	// ErrTooLarge is returned for a payload or a delta over a size limit.
	ErrTooLarge = errors.New("too large")
	// ErrNotFound is returned for a memento that is not there.
	ErrNotFound = errors.New("no such memento")
	// ErrQuarantined is returned for a memento whose stored value cannot be read.
	// Putting or deleting it ends the quarantine.
	ErrQuarantined = errors.New("memento is quarantined")
	// ErrConflict is returned when a memento is not as an operation expected it.
	ErrConflict = errors.New("memento changed")
	// ErrFenced is returned when the store refused a write because its term is
	// over. A retry, under this term or another, is a bug.
	ErrFenced = errors.New("fenced: the term is over")
	// ErrStoreFull is returned while the store has no room; deletes still work.
	ErrStoreFull = errors.New("store is full")
	// ErrUnavailable is returned when the store cannot be reached or has no leader.
	ErrUnavailable = errors.New("store is not available")
	// ErrUnknown is returned when a write may or may not have been applied: read
	// before writing again.
	ErrUnknown = errors.New("outcome unknown")
	// ErrCompacted is returned when the store no longer has the revision asked for.
	ErrCompacted = errors.New("revision is compacted")
	// ErrUnusable is returned for a load that the [Rules] refuse.
	ErrUnusable = errors.New("stored state cannot be used")
	// ErrClosed is returned for a write that was not sent, because its term is
	// over or about to end. Whoever leads next may be asked to do it.
	ErrClosed = errors.New("not taking writes")
)

// ConflictError is the [ErrConflict] of one operation of a delta.
type ConflictError struct {
	// Op is the index of the operation in its delta.
	Op   int
	Name Name
	// Expect is what the operation asked for, Actual the modified revision the
	// memento really has, 0 if it is not there.
	Expect Expect
	Actual Revision
}

// Error implements error. A delta touches a memento once, so the name says which
// operation it is, also where there is only one and nobody has counted.
func (e *ConflictError) Error() string {
	actual := fmt.Sprintf("is at revision %d", e.Actual)
	if e.Actual == 0 {
		actual = "does not exist"
	}
	return fmt.Sprintf("%s %s, expected %s", e.Name, actual, e.Expect)
}

// Is makes the error an [ErrConflict].
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// UnusableError is the [ErrUnusable] that names what was found.
type UnusableError struct {
	// Faults are the mementos whose policy is not to continue: the first of them
	// with [FailFast], all of them with [FailAtEnd].
	Faults []Fault
}

// Error implements error.
func (e *UnusableError) Error() string {
	first := e.Faults[0]
	text := fmt.Sprintf("%v: %s: %s", ErrUnusable, first.Name, first.Reason)
	if more := len(e.Faults) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	return text
}

// Is makes the error an [ErrUnusable].
func (e *UnusableError) Is(target error) bool { return target == ErrUnusable }
