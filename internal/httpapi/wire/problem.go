// This file has the errors of the API and the one table that maps errors to statuses.

package wire

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

// ProblemType is the media type of an error's body (RFC 9457).
const ProblemType = "application/problem+json"

// Problem is the body of every error, and the error that the client returns for it.
type Problem struct {
	// Type names the kind of problem, for programs.
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Detail tells a person what is wrong and what to do.
	Detail string `json:"detail"`
}

// Error implements error.
func (p *Problem) Error() string { return p.Detail }

// The kinds of problem.
const (
	kindPrefix = "urn:coordinator:problem:"

	KindBadRequest   = kindPrefix + "bad-request"
	KindNoIdentity   = kindPrefix + "not-identified"
	KindForbidden    = kindPrefix + "forbidden"
	KindNotFound     = kindPrefix + "not-found"
	KindMethod       = kindPrefix + "method-not-allowed"
	KindRefused      = kindPrefix + "refused"
	KindGone         = kindPrefix + "gone"
	KindPrecondition = kindPrefix + "precondition-failed"
	KindTooLarge     = kindPrefix + "too-large"
	KindMediaType    = kindPrefix + "unsupported-media-type"
	KindNotMaster    = kindPrefix + "not-master"
	KindQuarantined  = kindPrefix + "quarantined"
	KindInternal     = kindPrefix + "internal"
	KindNoMaster     = kindPrefix + "no-master"
	KindFenced       = kindPrefix + "fenced"
	KindNotReady     = kindPrefix + "not-ready"
	KindBusy         = kindPrefix + "busy"
	KindStore        = kindPrefix + "store-unavailable"
	KindUnknown      = kindPrefix + "outcome-unknown"
	KindStoreFull    = kindPrefix + "store-full"
	KindDisk         = kindPrefix + "node-disk"
	KindNotBegun     = kindPrefix + "not-begun"
)

// Errors that only the API has.
var (
	// ErrBadRequest is returned for a request whose path, query, headers or body are not valid.
	ErrBadRequest = errors.New("bad request")
	// ErrBodyTooLarge is returned for a request whose body exceeds a limit of the API.
	ErrBodyTooLarge = errors.New("too large")
	// ErrGone is returned for a listing or a revision that is no longer available.
	ErrGone = errors.New("gone")
	// ErrMediaType is returned for a body of a media type that is not accepted.
	ErrMediaType = errors.New("media type not supported")
	// ErrBehind is returned if this node's copy does not reach a revision in time.
	ErrBehind = errors.New("this node's copy has not reached it")
	// ErrStayed is returned for a write that was asked not to be forwarded.
	ErrStayed = errors.New("not forwarded")
	// ErrNoIdentity is returned for a request without a known token.
	ErrNoIdentity = errors.New("not identified")
	// ErrForbidden is returned for a request that its caller may not make.
	ErrForbidden = errors.New("not allowed")
	// ErrBusy is returned for a request that exceeds a limit on concurrent use.
	ErrBusy = errors.New("busy")
	// ErrDisk is returned if the node's own disk cannot store something.
	ErrDisk = errors.New("this node's disk cannot store it")
	// ErrNoAddress is returned for a write whose master advertises no address that can be used.
	ErrNoAddress = fmt.Errorf("%w that this node can reach", coordinator.ErrNoMaster)
	// ErrNotBegun is returned for a write that its caller has given up, or may have.
	ErrNotBegun = errors.New("not begun")
)

// problems is the table of statuses. The first row whose error matches counts, so more specific
// errors come first.
var problems = []struct {
	err    error
	kind   string
	status int
	hint   string // what to do, if the error does not say it
}{
	{ErrBadRequest, KindBadRequest, http.StatusBadRequest, ""},
	{driver.ErrTooLarge, KindTooLarge, http.StatusRequestEntityTooLarge, ""},
	{rebind.ErrInvalid, KindBadRequest, http.StatusBadRequest, ""},
	{ErrNoIdentity, KindNoIdentity, http.StatusUnauthorized, ""},
	{ErrForbidden, KindForbidden, http.StatusForbidden, ""},
	{driver.ErrNoNode, KindNotFound, http.StatusNotFound, ""},
	{rebind.ErrNotFound, KindNotFound, http.StatusNotFound, ""},
	{rebind.ErrConflict, KindPrecondition, http.StatusPreconditionFailed, "read it again and decide again"},
	{ErrBodyTooLarge, KindTooLarge, http.StatusRequestEntityTooLarge, ""},
	{ErrMediaType, KindMediaType, http.StatusUnsupportedMediaType, ""},
	{ErrStayed, KindNotMaster, http.StatusMisdirectedRequest, "send it to the node named in Location"},
	{rebind.ErrQuarantined, KindQuarantined, http.StatusUnprocessableEntity, "put or delete it to repair it"},
	{driver.ErrStoreFull, KindStoreFull, http.StatusInsufficientStorage, "deletes still work; then compact and defragment etcd, and disarm its alarm"},
	{ErrDisk, KindDisk, http.StatusInsufficientStorage, "nothing was imported: make room on the node's disk, or have it write elsewhere with --data-dir or TMPDIR"},
	{rebind.ErrUnknown, KindUnknown, http.StatusGatewayTimeout, "it may have taken effect: read before you try again"},
	{coordinator.ErrMasterExists, KindRefused, http.StatusConflict, ""},
	{driver.ErrRefused, KindRefused, http.StatusConflict, ""},
	{driver.ErrForeignPlane, KindRefused, http.StatusConflict, ""},
	{driver.ErrCompacted, KindGone, http.StatusGone, "the store keeps its history for a while only"},
	{driver.ErrAhead, KindBadRequest, http.StatusBadRequest, ""},
	{ErrGone, KindGone, http.StatusGone, ""},
	{ErrBusy, KindBusy, http.StatusServiceUnavailable, "try again later, or ask another node"},
	{ErrBehind, KindNotReady, http.StatusServiceUnavailable, "try again, or ask another node"},
	{ErrNotBegun, KindNotBegun, http.StatusServiceUnavailable, "it was not applied: send it again if it is still wanted"},
	{driver.ErrFenced, KindFenced, http.StatusServiceUnavailable, "it was not applied: try again"},
	{ErrNoAddress, KindNoMaster, http.StatusServiceUnavailable, ""},
	{coordinator.ErrNoMaster, KindNoMaster, http.StatusServiceUnavailable, "try again when status shows a master"},
	{coordinator.ErrNotMaster, KindNoMaster, http.StatusServiceUnavailable, "try again when status shows a master"},
	{coordinator.ErrNotReadable, KindNotReady, http.StatusServiceUnavailable, "ask a node that is MASTER, HOT_STANDBY or HOT_BACKUP"},
	{coordinator.ErrStopped, KindNotReady, http.StatusServiceUnavailable, "ask another node"},
	{driver.ErrRestored, KindStore, http.StatusServiceUnavailable, "the node is loading it again: try again"},
	{driver.ErrStoreCorrupt, KindStore, http.StatusServiceUnavailable, "it was not applied: see which member of etcd differs, and disarm its CORRUPT alarm"},
	{driver.ErrDenied, KindStore, http.StatusServiceUnavailable, "see to the node's etcd credentials and roles"},
	{rebind.ErrUnavailable, KindStore, http.StatusServiceUnavailable, "see whether etcd runs and can be reached"},
	{driver.ErrLeaseLost, KindStore, http.StatusServiceUnavailable, "the node is joining again: try again"},
}

// RetryAfter is how many seconds a client should wait after a 503.
const RetryAfter = "1"

// ProblemOf returns the problem for an error.
func ProblemOf(err error) *Problem {
	var known *Problem
	if errors.As(err, &known) {
		return known
	}
	for _, row := range problems {
		if errors.Is(err, row.err) {
			detail := err.Error()
			if row.hint != "" {
				detail += ": " + row.hint
			}
			return NewProblem(row.status, row.kind, detail)
		}
	}
	return NewProblem(http.StatusInternalServerError, KindInternal, err.Error())
}

// NewProblem returns a problem.
func NewProblem(status int, kind, detail string) *Problem {
	return &Problem{Type: kind, Title: http.StatusText(status), Status: status, Detail: detail}
}
