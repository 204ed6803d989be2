package driver

import (
	"context"
	"fmt"

	"github.com/coordinator-ha/coordinator/rebind"
)

// This file declares how deltas are written. The persister of a node calls it; stores implement it.

// Writer commits deltas to the store, one transaction each. It is what a term of
// mastership offers.
type Writer interface {
	// Commit makes all of the writes, or none if a memento is not at its base. They touch
	// different mementos, and may be those of several deltas.
	//
	// Commit settles a doubtful outcome by itself and blocks until it has, or
	// until nothing can be learned any more, so it may outlast ctx. Once the term
	// is over it returns [ErrClosed] for what it did not send and [ErrFenced] for
	// what the store refused. It returns a [*BaseError] when a memento is not at
	// its base, [ErrTooLarge], [ErrStoreFull] or [rebind.ErrUnavailable]; in all these
	// cases nothing was written. Only after [rebind.ErrUnknown] is the outcome open.
	//
	// The revision is that of the writes. If all of them are deletions, and the answer was
	// lost, it may be a later one.
	Commit(ctx context.Context, writes []Write) (rebind.Revision, error)
}

// Write is one operation of a transaction.
type Write struct {
	rebind.Op
	// ID is the id of the delta that the operation belongs to. It is not empty. A put is
	// stored with it, so that it can be recognised.
	ID string
	// Base is the revision at which the memento must have been last modified: 0 if it must
	// not exist. A negative base is never met: the caller asks for the true one.
	Base rebind.Revision
}

// Writes returns the writes of one delta on the base of each of its operations.
func Writes(d rebind.Delta, base []rebind.Revision) []Write {
	writes := make([]Write, len(d.Ops))
	for i := range d.Ops {
		writes[i] = Write{Op: d.Ops[i], ID: d.ID, Base: base[i]}
	}
	return writes
}

// BaseError is returned by a [Writer] if mementos are at other revisions than their base.
type BaseError struct {
	// Actual holds the modified revision of the memento of each write, 0 if there is none.
	Actual []rebind.Revision
}

// Error implements error.
func (e *BaseError) Error() string {
	return fmt.Sprintf("mementos are at revisions %v", e.Actual)
}
