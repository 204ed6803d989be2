package rebind

import "errors"

// This file declares the errors that a program meets when it reads or writes mementos.

// Errors of reading and writing mementos. All but [ErrUnknown] mean that nothing
// was changed.
var (
	// ErrInvalid is returned for a name, content or delta that breaks the rules,
	// whatever the store holds.
	ErrInvalid = errors.New("invalid")
	// ErrNotFound is returned for a memento that does not exist.
	ErrNotFound = errors.New("no such memento")
	// ErrQuarantined is returned for a memento whose stored value cannot be read.
	// Putting or deleting it ends the quarantine.
	ErrQuarantined = errors.New("memento is quarantined")
	// ErrConflict is returned when a memento is not as an operation requires.
	ErrConflict = errors.New("memento changed")
	// ErrUnavailable is returned when the store cannot be reached or has no leader.
	ErrUnavailable = errors.New("store is not available")
	// ErrUnknown is returned when a write may or may not have been applied: read
	// before writing again.
	ErrUnknown = errors.New("outcome unknown")
)
