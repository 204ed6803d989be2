package driver

import (
	"errors"

	"github.com/coordinator-ha/coordinator/rebind"
)

// Errors of a store beside those of package rebind.
var (
	// ErrDenied is returned when the store answers and denies this node access: its
	// credentials, certificates or permissions are not right. It is an
	// [rebind.ErrUnavailable] too, since they can be put right while the node runs.
	ErrDenied error = unavailable("store denies access")
	// ErrStoreCorrupt is returned while the store takes no writes because it has found
	// its members' data to differ. It is an [rebind.ErrUnavailable] too.
	ErrStoreCorrupt error = unavailable("store is corrupt")
	// ErrAhead is returned for a revision that the store has not come to.
	ErrAhead = errors.New("revision is ahead of the store")
	// ErrRestored is returned when the store turns out to be older than it was, or
	// another one: it was restored from a backup.
	ErrRestored = errors.New("store restored")
)

// unavailable is an ErrUnavailable that does not read as if the store were away.
type unavailable string

// Error implements error.
func (u unavailable) Error() string { return string(u) }

// Is makes the error an [rebind.ErrUnavailable].
func (unavailable) Is(target error) bool { return target == rebind.ErrUnavailable }
