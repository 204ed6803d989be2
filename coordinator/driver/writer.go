package driver

import (
	"context"
	"fmt"

	"github.com/coordinator-ha/coordinator/rebind"
)

// This file declares how deltas are written.

// Writer commits deltas to the store, one transaction each. It is what a term of
// mastership offers.
type Writer interface {
	// Commit writes d if, for each operation i, the memento was last modified at
	// base[i] (0: is absent; negative: never, the true one is asked for): all of it or
	// nothing. Each put is stored with its [rebind.Delta.OpID], so that it can be recognised;
	// none is empty.
	//
	// Commit settles a doubtful outcome by itself and blocks until it has, or
	// until nothing can be learned any more, so it may outlast ctx. Once the term
	// is over it returns [ErrClosed] for what it did not send and [ErrFenced] for
	// what the store refused. It returns a [*BaseError] when a memento is not at
	// its base, [ErrTooLarge], [ErrStoreFull] or [rebind.ErrUnavailable]; in all these
	// cases nothing was written. Only after [rebind.ErrUnknown] is the outcome open.
	//
	// The revision is that at which d was made. Of a d that only deletes, and whose
	// answer was lost, it may be a later one.
	Commit(ctx context.Context, d rebind.Delta, base []rebind.Revision) (rebind.Revision, error)
}

// BaseError is returned by a [Writer] whose delta met mementos in another
// revision than its base.
type BaseError struct {
	// Actual holds the modified revision of each operation's memento, 0 for none.
	Actual []rebind.Revision
}

// Error implements error.
func (e *BaseError) Error() string {
	return fmt.Sprintf("mementos are at revisions %v", e.Actual)
}
