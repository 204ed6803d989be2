// This file has the types of watches, exports and imports.

package wire

import "encoding/json"

// Paths of watches, exports and imports.
const (
	PathWatch  = "/v1/watch"
	PathExport = "/v1/export"
	PathImport = "/v1/import"
)

// Headers of streams.
const (
	// HeaderLastEvent is the last revision that a client had seen when it reconnects to a
	// watch.
	HeaderLastEvent = "Last-Event-ID"
	// HeaderQuarantined counts the mementos that an export leaves out.
	HeaderQuarantined = "Coordinator-Quarantined"
)

// EventStream is the media type of a watch, Archive that of an export.
const (
	EventStream = "text/event-stream"
	Archive     = "application/octet-stream"
)

// The events of a watch. An EventError ends the stream; its data is a [Problem].
const (
	EventChange   = "change"
	EventBookmark = "bookmark"
	EventError    = "error"
)

// Bookmark tells how far a watch has come: everything up to Revision was sent.
type Bookmark struct {
	Revision int64 `json:"revision"`
}

// Step has the changes to mementos at one revision.
type Step struct {
	Revision int64    `json:"revision"`
	Changes  []Change `json:"changes"`
}

// Change is one put or delete of a memento. Item is set for a put of a valid memento, and Fault
// for a quarantined one.
type Change struct {
	Op          string `json:"op"` // put or delete
	Type        string `json:"type"`
	ID          string `json:"id"`
	ModRevision int64  `json:"mod_revision"`
	*Item
	Fault string `json:"fault,omitempty"`
}

// Item is a memento after a put. Its payload is in Data if it is JSON, and in DataBase64
// otherwise.
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

// Imported is the answer of POST /v1/import: what was changed, or would be.
type Imported struct {
	// Revision is the revision of the last change, or of the state if nothing had to change.
	Revision  int64 `json:"revision"`
	Created   int64 `json:"created"`
	Changed   int64 `json:"changed"`
	Unchanged int64 `json:"unchanged"`
	Deleted   int64 `json:"deleted"`
	DryRun    bool  `json:"dry_run"`
	// Names is set for a dry run: the first names of each kind.
	Names *ImportNames `json:"names,omitempty"`
}

// ImportNames lists mementos, as type/id, that an import would change.
type ImportNames struct {
	Created []string `json:"created"`
	Changed []string `json:"changed"`
	Deleted []string `json:"deleted"`
}
