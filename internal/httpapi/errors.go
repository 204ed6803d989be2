// This file has the errors for faults of the HTTP request itself: its path, query, headers or
// body. Faults of a memento have the errors of package rebind.

package httpapi

import (
	"fmt"

	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

// requestError is a fault of the request. The table of statuses in package wire has a row for
// each kind.
type requestError struct {
	kind  error // [wire.ErrBadRequest] or [wire.ErrBodyTooLarge]
	cause error
}

// Error implements error.
func (e *requestError) Error() string { return e.kind.Error() + ": " + e.cause.Error() }

// Unwrap returns the kind and the cause.
func (e *requestError) Unwrap() []error { return []error{e.kind, e.cause} }

// badRequest returns an error that is answered with 400.
func badRequest(format string, args ...any) error {
	return &requestError{wire.ErrBadRequest, fmt.Errorf(format, args...)}
}

// bodyTooLarge returns an error that is answered with 413.
func bodyTooLarge(format string, args ...any) error {
	return &requestError{wire.ErrBodyTooLarge, fmt.Errorf(format, args...)}
}
