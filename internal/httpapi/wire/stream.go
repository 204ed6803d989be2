package wire

import "encoding/json"

// The paths of this file.
const (
	PathWatch  = "/v1/watch"
	PathExport = "/v1/export"
	PathImport = "/v1/import"
)

// Headers of streams.
const (
	// HeaderLastEvent is what a client that reconnects to a watch has seen last.
	HeaderLastEvent = "Last-Event-ID"
	// HeaderQuarantined counts the mementos that an export leaves out.
	HeaderQuarantined = "Coordinator-Quarantined"
)

// EventStream is the media type of a watch, Archive that of an export.
const (
	EventStream = "text/event-stream"
	Archive     = "application/octet-stream"
)

// The events of a watch. The data of an EventError, which ends the stream, is a
// [Problem].
const (
	EventChange   = "change"
	EventBookmark = "bookmark"
	EventError    = "error"
)

// Bookmark tells how far a watch has come: everything up to Revision was told.
type Bookmark struct {
	Revision int64 `json:"revision"`
}

// Step is what happened to mementos at one revision.
type Step struct {
	Revision int64    `json:"revision"`
	Changes  []Change `json:"changes"`
}

// Change is one memento put or deleted. Item is there for a put of a memento that can
// be used, and Fault for one that is quarantined.
type Change struct {
	Op          string `json:"op"` // put or delete
	Type        string `json:"type"`
	ID          string `json:"id"`
	ModRevision int64  `json:"mod_revision"`
	*Item
	Fault string `json:"fault,omitempty"`
}

// Item is what a put made of a memento, with its payload: as it is where that is
// JSON, in base64 otherwise.
type Item struct {
	Parent         string          `json:"parent"`
	ContentType    string          `json:"content_type"`
	Schema         int64           `json:"schema"`
	CreateRevision int64           `json:"create_revision"`
	Version        int64           `json:"version"`
	Size           int             `json:"size"`
	Data           json.RawMessage `json:"data,omitempty"`
	DataBase64     *string         `json:"data_base64,omitempty"`
}

// Imported is the answer of POST /v1/import: what was done, or what would be.
type Imported struct {
	// Revision is that of the last change, or of the state if nothing had to change.
	Revision  int64 `json:"revision"`
	Created   int64 `json:"created"`
	Changed   int64 `json:"changed"`
	Unchanged int64 `json:"unchanged"`
	Deleted   int64 `json:"deleted"`
	DryRun    bool  `json:"dry_run"`
	// Names is there for a dry run: the first of each kind.
	Names *ImportNames `json:"names,omitempty"`
}

// ImportNames names mementos, as type/id, that an import would change.
type ImportNames struct {
	Created []string `json:"created"`
	Changed []string `json:"changed"`
	Deleted []string `json:"deleted"`
}
