// This file has what the API needs of a node, in parts by what it is used for.

package httpapi

import (
	"context"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// Node is what the API needs of a node. [coordinator.Node] implements it.
type Node interface {
	NodeState
	NodeReads
	NodeWrites
	NodeOperations
}

// NodeState tells what a node knows of itself and of its plane. Only Plane, CheckStore and
// History ask the store; WaitMaster and WaitSuccessor block.
type NodeState interface {
	ID() string
	State() modes.State
	Status() coordinator.Status
	Plane(ctx context.Context) (driver.Plane, error)
	CachedPlane() driver.Plane
	CheckStore(ctx context.Context) error
	History(ctx context.Context) ([]driver.HistoryEntry, error)
	WaitMaster(ctx context.Context) (driver.Member, error)
	WaitSuccessor(ctx context.Context, term int64) error
}

// NodeReads reads mementos: from the node's copy, and with Past from the store.
type NodeReads interface {
	Read() (coordinator.Reading, error)
	WaitRevision(ctx context.Context, to rebind.Revision) error
	Confirm(ctx context.Context) error
	Past(ctx context.Context, at rebind.Revision, start rebind.Name, limit int) (found []rebind.Change, more bool, err error)
	Steps(ctx context.Context, after rebind.Revision) ([]rebind.Changeset, rebind.Revision, error)
	Replay(ctx context.Context, after rebind.Revision, tell func([]rebind.Changeset) error) (rebind.Revision, error)
}

// NodeWrites stores mementos.
type NodeWrites interface {
	Commit(ctx context.Context, d rebind.Delta) (rebind.Receipt, error)
}

// NodeOperations is what operators ask of a node and of its plane.
type NodeOperations interface {
	ChangeMode(ctx context.Context, to modes.Mode) (coordinator.ModeChange, error)
	SetPriority(ctx context.Context, to int) (previous int, err error)
	Handover(ctx context.Context, to string) (coordinator.HandoverResult, error)
	CheckHandover(ctx context.Context, to string) ([]coordinator.Check, error)
	Pause(ctx context.Context, lasting time.Duration) (driver.Pause, error)
	Resume(ctx context.Context) error
	Forget(ctx context.Context, id string) error
}
