package driver

import (
	"errors"
	"fmt"
	"time"
)

// This file declares the errors of joining a plane, of the election and of a term.

// Errors that a [Store] returns. The reasons for a refusal are wrapped around them.
var (
	// ErrNodeTaken is returned when another live process has this node id.
	ErrNodeTaken = errors.New("node id is taken")
	// ErrRefused is returned for an operator's request that the plane's present
	// condition forbids; nothing was changed.
	ErrRefused = errors.New("refused")
	// ErrLeaseLost is returned when a presence is over: its lease is gone, or
	// must be taken to be gone.
	ErrLeaseLost = errors.New("lease is lost")
	// ErrExclusive is returned when a disabled node has the plane to itself, and to
	// a node that is to be disabled where others live.
	ErrExclusive = errors.New("a disabled node shares no plane")
	// ErrNoNode is returned for a node that the plane does not know.
	ErrNoNode = errors.New("no such node")
	// ErrStuck is why a node makes room for others that has made no progress for
	// [StallLimit], and why a presence ends of which the store renews the lease and answers
	// nothing else.
	ErrStuck = errors.New("no progress")
	// ErrWrongServer is returned where something else than the store answers at the
	// addresses that were configured for it.
	ErrWrongServer = errors.New("not the store")
	// ErrChanged is returned when the plane has changed since it was looked at, and nothing
	// was written: look again.
	ErrChanged = errors.New("the plane has changed meanwhile")
	// ErrTermOver is the cause of a term's context when the term has ended.
	ErrTermOver = errors.New("term is over")
)

// ErrHung is the [ErrLeaseLost] of a node that has not sent a heartbeat in time.
var ErrHung = fmt.Errorf("%w: the node's own loop has not come round", ErrLeaseLost)

// TakenError is the [ErrNodeTaken] that names the holder.
type TakenError struct{ Holder Record }

// Error implements error.
func (e *TakenError) Error() string {
	at := "the process at " + e.Holder.URI
	if e.Holder.URI == "" {
		at = "a process that advertises no address"
	}
	text := fmt.Sprintf("node id %s is taken by %s", e.Holder.ID, at)
	if !e.Holder.Started.IsZero() { // a disabled node does not say
		text += ", started " + e.Holder.Started.Format(time.RFC3339)
	}
	return text
}

// Is makes the error an [ErrNodeTaken].
func (e *TakenError) Is(target error) bool { return target == ErrNodeTaken }
