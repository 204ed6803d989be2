// Package wire has what goes over HTTP: the JSON types, the headers, and the one table that
// maps errors to statuses. Server and client share it, so that no field can be spelled in two
// ways. All of it is a contract: names may be added, never changed.
package wire

import (
	"cmp"
	"encoding/json"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
)

// Headers of requests and answers.
const (
	// HeaderForward with the value never asks a node not to forward a write.
	HeaderForward = "Coordinator-Forward"
	ForwardNever  = "never"

	// HeaderDeadline is when the caller stops waiting for a write (RFC 3339). The write does
	// not begin after that.
	HeaderDeadline = "Coordinator-Deadline"

	HeaderRevision  = "Coordinator-Revision"
	HeaderStaleness = "Coordinator-Staleness-Ms"
	HeaderNode      = "Coordinator-Node"
	HeaderInstance  = "Coordinator-Instance" // the process that answers, with its health
	HeaderTerm      = "Coordinator-Term"
	HeaderParent    = "Coordinator-Parent"
	HeaderSchema    = "Coordinator-Schema"

	// HeaderKey makes a put idempotent: it may be sent again.
	HeaderKey = "Idempotency-Key"
)

// Paths of the API.
const (
	PathNode     = "/v1/node"
	PathMode     = "/v1/node/mode"
	PathPriority = "/v1/node/priority"
	PathLogLevel = "/v1/node/log-level"
	PathPlane    = "/v1/plane"
	PathHandover = "/v1/plane/handover"
	PathPause    = "/v1/plane/pause"
	PathResume   = "/v1/plane/resume"
	PathLeft     = "/v1/plane/left"
	PathHistory  = "/v1/plane/history"
	PathTypes    = "/v1/types"
	PathMementos = "/v1/mementos"
	PathBatch    = "/v1/mementos/batch"
	PathLive     = "/livez"
	PathReady    = "/readyz"
	PathRole     = "/role/"
	PathOpenAPI  = "/openapi.json"
	PathMetrics  = "/metrics"
)

// Node is the answer of GET /v1/node.
type Node struct {
	ID               string       `json:"id"`
	Instance         string       `json:"instance"`
	Plane            string       `json:"plane"`
	PlaneID          string       `json:"plane_id"`
	Mode             modes.Mode   `json:"mode"`
	State            modes.State  `json:"state"`
	Priority         int          `json:"priority"`
	Version          string       `json:"version"`
	URI              string       `json:"uri"`
	Started          time.Time    `json:"started"`
	Since            time.Time    `json:"since"`
	Term             int64        `json:"term"`
	LeaseRemainingMS int64        `json:"lease_remaining_ms"`
	LastError        string       `json:"last_error"`
	Mirror           *Mirror      `json:"mirror"`
	Quarantined      int          `json:"quarantined"`
	Quarantine       []Fault      `json:"quarantine,omitempty"`
	Transitions      []Transition `json:"transitions"`
}

// Mirror describes a node's copy of the state.
type Mirror struct {
	Revision    int64 `json:"revision"`
	StalenessMS int64 `json:"staleness_ms"`
	Count       int   `json:"count"`
	Bytes       int64 `json:"bytes"`
	// Loaded and Total tell how many mementos the last load has read so far, and of how many.
	Loaded int64 `json:"loaded"`
	Total  int64 `json:"total"`
}

// Fault is a quarantined memento.
type Fault struct {
	Name        string `json:"name"`
	ModRevision int64  `json:"mod_revision"`
	Reason      string `json:"reason"`
}

// Transition is one change of a node's state.
type Transition struct {
	At     time.Time   `json:"at"`
	From   modes.State `json:"from"`
	To     modes.State `json:"to"`
	Reason string      `json:"reason"`
}

// ModeRequest is the body of PUT /v1/node/mode.
type ModeRequest struct {
	Mode string `json:"mode"`
}

// ModeState is a mode and the state of a node in it.
type ModeState struct {
	Mode  modes.Mode  `json:"mode"`
	State modes.State `json:"state"`
}

// ModeReply is the answer to a [ModeRequest].
type ModeReply struct {
	Previous ModeState `json:"previous"`
	Current  ModeState `json:"current"`
}

// PriorityRequest is the body of PUT /v1/node/priority.
type PriorityRequest struct {
	Priority *int `json:"priority"`
}

// PriorityReply is the answer to a [PriorityRequest].
type PriorityReply struct {
	Previous int `json:"previous"`
	Current  int `json:"current"`
}

// LogLevel is the answer of GET /v1/node/log-level.
type LogLevel struct {
	Level string `json:"level"`
}

// LogLevelRequest is the body of PUT /v1/node/log-level.
type LogLevelRequest struct {
	Level string `json:"level"`
}

// LogLevelReply is the answer to a [LogLevelRequest].
type LogLevelReply struct {
	Previous string `json:"previous"`
	Current  string `json:"current"`
}

// Plane is the answer of GET /v1/plane.
type Plane struct {
	Plane    string  `json:"plane"`
	PlaneID  string  `json:"plane_id"`
	Master   *string `json:"master"`
	Term     int64   `json:"term"`
	Revision int64   `json:"revision"`
	// Paused says that no node is promoted automatically. Pause says since when, until when and
	// through which node it was asked for.
	Paused bool          `json:"paused"`
	Pause  *driver.Pause `json:"pause"`
	// Next would lead if the master went now, and NextWhy says why that node.
	Next    *string `json:"next"`
	NextWhy string  `json:"next_why"`
	// Exclusive is the disabled node that has the plane to itself, nil if there is none. It
	// is not one of Nodes.
	Exclusive *driver.Guard `json:"exclusive"`
	// FormerExclusive is Exclusive under its former name, seclusion, with the same value. It
	// is removed in 0.2; older nodes send no other.
	FormerExclusive *driver.Guard `json:"seclusion"`
	Nodes           []PlaneNode   `json:"nodes"`
	// Left are the nodes that left or vanished recently.
	Left []driver.Departed `json:"left"`
	// Strays are keys under the plane's prefix that are not valid where they are. They are
	// ignored.
	Strays []driver.Stray `json:"strays,omitempty"`
	// StoreError says why the store does not answer or takes no writes, and is left out while
	// neither is so. If the store does not answer, the rest is what this node saw last.
	StoreError string `json:"store_error,omitempty"`
	// StoreNotes tell what else is wrong with the store, as far as the answering node knows.
	StoreNotes []string `json:"store_notes,omitempty"`
}

// ExclusiveNode returns the disabled node that has the plane to itself, under whichever
// name the answering node sent it, or nil if there is none.
func (p *Plane) ExclusiveNode() *driver.Guard { return cmp.Or(p.Exclusive, p.FormerExclusive) }

// PlaneNode is a live node's record, and whether it could be promoted.
type PlaneNode struct {
	driver.Record
	Promotable bool   `json:"promotable"`
	WhyNot     string `json:"why_not"`
	// Unreachable says why nothing can be sent to the node, and is left out if it advertises an
	// address.
	Unreachable string `json:"unreachable,omitempty"`
}

// NoAddress is what is wrong with a node that advertises no address, and what to do about it.
const NoAddress = "advertises no address: set Config.URI / --advertise-url"

// PauseRequest is the body of POST /v1/plane/pause. Without ForMS the pause lasts until it is
// ended.
type PauseRequest struct {
	ForMS int64 `json:"for_ms"`
}

// PauseReply is the answer of POST /v1/plane/pause and of POST /v1/plane/resume.
type PauseReply struct {
	Paused bool          `json:"paused"`
	Pause  *driver.Pause `json:"pause"`
}

// ForgetReply is the answer of DELETE /v1/plane/left/{id}.
type ForgetReply struct {
	Forgotten string `json:"forgotten"`
}

// HandoverRequest is the body of POST /v1/plane/handover. If To is empty the best candidate is
// chosen. A dry run changes nothing and is answered with a [DryRunReply].
type HandoverRequest struct {
	To     string `json:"to"`
	DryRun bool   `json:"dry_run"`
}

// DryRunReply is the answer to a dry run. OK is true if all checks pass.
type DryRunReply struct {
	OK     bool    `json:"ok"`
	Checks []Check `json:"checks"`
}

// HandoverReply is the answer to a handover.
type HandoverReply struct {
	From       string `json:"from"`
	To         string `json:"to"`
	Term       int64  `json:"term"`
	DurationMS int64  `json:"duration_ms"`
}

// History is the answer of GET /v1/plane/history, newest first.
type History struct {
	Items []driver.HistoryEntry `json:"items"`
}

// Types is the answer of GET /v1/types.
type Types struct {
	Revision int64    `json:"revision"`
	Types    []string `json:"types"`
}

// List is one page of GET /v1/mementos.
type List struct {
	Revision int64     `json:"revision"`
	Items    []Memento `json:"items"`
	// Next is the "after" parameter of the next page; empty on the last page.
	Next string `json:"next,omitempty"`
}

// Memento is a memento, with its payload if that was asked for.
type Memento struct {
	Type           string `json:"type"`
	ID             string `json:"id"`
	Parent         string `json:"parent"`
	ContentType    string `json:"content_type"`
	Schema         int64  `json:"schema"`
	CreateRevision int64  `json:"create_revision"`
	ModRevision    int64  `json:"mod_revision"`
	Version        int64  `json:"version"`
	Size           int    `json:"size"`
	// Data is the payload if it is JSON, and DataBase64 is any other. Both are left out if
	// payloads were not asked for.
	Data       json.RawMessage `json:"data,omitempty"`
	DataBase64 *string         `json:"data_base64,omitempty"`
}

// Batch is the body of POST /v1/mementos/batch. It becomes one delta.
type Batch struct {
	Ops []Op `json:"ops"`
}

// Op is one operation of a [Batch].
type Op struct {
	Op          string `json:"op"` // put or delete
	Type        string `json:"type"`
	ID          string `json:"id"`
	ContentType string `json:"content_type,omitempty"`
	Parent      string `json:"parent,omitempty"`
	Schema      int64  `json:"schema,omitempty"`
	// Data is the payload if it is JSON, and DataBase64 is any other.
	Data       json.RawMessage `json:"data,omitempty"`
	DataBase64 *string         `json:"data_base64,omitempty"`
	// IfRevision is the modification revision that the memento must have, 0 if it must be
	// absent.
	IfRevision *int64 `json:"if_revision,omitempty"`
}

// Written is the answer to a write.
type Written struct {
	Revision int64 `json:"revision"`
}

// Health is the answer of the endpoints for load balancers.
type Health struct {
	OK     bool    `json:"ok"`
	Checks []Check `json:"checks,omitempty"`
}

// Check is one part of a [Health] or a [DryRunReply].
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Reason string `json:"reason,omitempty"`
}
