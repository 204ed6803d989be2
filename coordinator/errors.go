// This file declares the errors that a node returns, beside those of packages rebind and
// coordinator/driver.

package coordinator

import "errors"

// Errors of a node. The reason is wrapped around them.
var (
	// ErrMasterExists is returned when a node is to lead and another one does. It comes as
	// a [*MasterError].
	ErrMasterExists = errors.New("a master exists")
	// ErrNoMaster is returned when something needs a master and there is none.
	ErrNoMaster = errors.New("no master")
	// ErrNotMaster is returned for a write on a node that does not lead, or does no longer;
	// nothing was written. If the master is known it comes as a [*MasterError].
	ErrNotMaster = errors.New("this node is not master")
	// ErrNotReadable is returned for a read on a node that has no copy of the state.
	ErrNotReadable = errors.New("this node serves no reads")
	// ErrPending is returned when an operator's request goes on although the caller no
	// longer waits for it.
	ErrPending = errors.New("still under way")
	// ErrStopped is returned by a node that has stopped or is stopping.
	ErrStopped = errors.New("node is stopping")
)

// MasterError is an [ErrMasterExists] or an [ErrNotMaster] that names the master.
type MasterError struct {
	// ID is the master, URI the address that it publishes, empty if it is not known.
	ID, URI string
	// Err is [ErrMasterExists] or [ErrNotMaster].
	Err error
}

// Error implements error.
func (e *MasterError) Error() string {
	if errors.Is(e.Err, ErrMasterExists) {
		return "node " + e.ID + " is master: use handover to move mastership"
	}
	text := e.Err.Error() + ": node " + e.ID + " is"
	if e.URI != "" {
		text += ", at " + e.URI
	}
	return text
}

// Unwrap returns Err.
func (e *MasterError) Unwrap() error { return e.Err }
