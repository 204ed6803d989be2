package coordinator

import (
	"errors"
	"fmt"
	"time"
)

// Errors of the plane. The reasons for a refusal are wrapped around them.
var (
	// ErrNodeTaken is returned when another live process has this node id.
	ErrNodeTaken = errors.New("node id is taken")
	// ErrMasterExists is returned when a node is to lead and another one does.
	ErrMasterExists = errors.New("a master exists")
	// ErrNoMaster is returned when something needs a master and there is none.
	ErrNoMaster = errors.New("no master")
	// ErrNotMaster is returned for a write on a node that does not lead.
	ErrNotMaster = errors.New("this node is not master")
	// ErrNotReadable is returned for a read on a node that holds no state.
	ErrNotReadable = errors.New("this node serves no reads")
	// ErrRefused is returned for an operator's request that the plane's present
	// condition forbids; nothing was changed.
	ErrRefused = errors.New("refused")
	// ErrPending is returned when an operator's request goes on although the
	// caller no longer waits for it.
	ErrPending = errors.New("still under way")
	// ErrStopped is returned by a node that has stopped or is stopping.
	ErrStopped = errors.New("node is stopping")
	// ErrLeaseLost is returned when a membership is over: its lease is gone, or
	// must be taken to be gone.
	ErrLeaseLost = errors.New("lease is lost")
	// ErrForeignPlane is returned by a node that finds another plane than its own
	// under the name, or one that a newer program has laid out.
	ErrForeignPlane = errors.New("not this node's plane")
	// ErrSecluded is returned when a disabled node has the plane to itself, and to
	// a node that is to be disabled where others live.
	ErrSecluded = errors.New("a disabled node shares no plane")
	// ErrNoState is returned at start by a node that is to find state and does not.
	ErrNoState = errors.New("no state")
	// ErrNoNode is returned for a node that the plane does not know.
	ErrNoNode = errors.New("no such node")
	// ErrStuck is returned for a candidacy that has made no progress for [Patience], and
	// is why a membership ends of which the store renews the lease and answers nothing
	// else.
	ErrStuck = errors.New("no progress")
	// ErrTermOver is the cause of a term's context when the term has ended.
	ErrTermOver = errors.New("term is over")
)

// ErrHung is the [ErrLeaseLost] of a node that has not vouched for itself in time.
var ErrHung = fmt.Errorf("%w: the node's own loop has not come round", ErrLeaseLost)

// TakenError is the [ErrNodeTaken] that names the holder.
type TakenError struct{ Holder Record }

// Error implements error.
func (e *TakenError) Error() string {
	text := fmt.Sprintf("node id %s is taken by the process at %s", e.Holder.ID, e.Holder.URI)
	if !e.Holder.Started.IsZero() { // a disabled node does not say
		text += ", started " + e.Holder.Started.Format(time.RFC3339)
	}
	return text
}

// Is makes the error an [ErrNodeTaken].
func (e *TakenError) Is(target error) bool { return target == ErrNodeTaken }

// MasterExistsError is the [ErrMasterExists] that names the master.
type MasterExistsError struct{ Master string }

// Error implements error.
func (e *MasterExistsError) Error() string {
	return fmt.Sprintf("node %s is master: use handover to move mastership", e.Master)
}

// Is makes the error an [ErrMasterExists].
func (e *MasterExistsError) Is(target error) bool { return target == ErrMasterExists }

// Answers of [Bid.Consider] that are no refusal.
var (
	// ErrYield sends the candidate to the end of the queue.
	ErrYield = errors.New("making way")
	// ErrHold has the candidate look again when the plane has changed.
	ErrHold = errors.New("holding")
)
