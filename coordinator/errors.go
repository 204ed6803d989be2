package coordinator

import (
	"errors"
	"fmt"
)

// Errors of a node. The reasons for a refusal are wrapped around them.
var (
	// ErrMasterExists is returned when a node is to lead and another one does.
	ErrMasterExists = errors.New("a master exists")
	// ErrNoMaster is returned when something needs a master and there is none.
	ErrNoMaster = errors.New("no master")
	// ErrNotMaster is returned for a write on a node that does not lead.
	ErrNotMaster = errors.New("this node is not master")
	// ErrNotReadable is returned for a read on a node that holds no state.
	ErrNotReadable = errors.New("this node serves no reads")
	// ErrPending is returned when an operator's request goes on although the
	// caller no longer waits for it.
	ErrPending = errors.New("still under way")
	// ErrStopped is returned by a node that has stopped or is stopping.
	ErrStopped = errors.New("node is stopping")
	// ErrForeignPlane is returned by a node that finds another plane than its own
	// under the name, or one that a newer program has laid out.
	ErrForeignPlane = errors.New("not this node's plane")
	// ErrNoState is returned at start by a node that is to find state and does not.
	ErrNoState = errors.New("no state")
)

// MasterExistsError is the [ErrMasterExists] that names the master.
type MasterExistsError struct{ Master string }

// Error implements error.
func (e *MasterExistsError) Error() string {
	return fmt.Sprintf("node %s is master: use handover to move mastership", e.Master)
}

// Is makes the error an [ErrMasterExists].
func (e *MasterExistsError) Is(target error) bool { return target == ErrMasterExists }
