package replica

import (
	"errors"
	"fmt"

	"github.com/coordinator-ha/coordinator/rebind"
)

// This file holds the error of a load that the rules of the program refuse.

// ErrUnusable is returned for a load that the [rebind.Rules] refuse.
var ErrUnusable = errors.New("stored state cannot be used")

// UnusableError is the [ErrUnusable] of a load, with the mementos that caused it.
type UnusableError struct {
	// Faults are the mementos for which the load fails: the first of a type that is to fail
	// fast, or all of the types that are to fail at the end.
	Faults []rebind.Change
}

// Error implements error.
func (e *UnusableError) Error() string {
	first := e.Faults[0]
	text := fmt.Sprintf("%v: %s: %s", ErrUnusable, first.Name, first.Fault)
	if more := len(e.Faults) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	return text
}

// Is makes the error an [ErrUnusable].
func (e *UnusableError) Is(target error) bool { return target == ErrUnusable }
