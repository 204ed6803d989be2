package driver

import (
	"context"

	"github.com/coordinator-ha/coordinator/rebind"
)

// This file declares how mementos are read: loaded at one revision, and watched from the next.

// Source is where mementos are read from.
type Source interface {
	// Load reads all mementos at one revision that is not older than the call,
	// and hands them to page in the order of their names. It returns that
	// revision. An error of page ends the load and is returned. Load returns
	// [ErrCompacted] when the store drops the revision while it is read, and
	// [rebind.ErrUnavailable] when the store does not answer.
	Load(ctx context.Context, page func(Page) error) (rebind.Revision, error)

	// Watch opens a stream of all changes after the given revision. It returns
	// at once; what is wrong with the stream is told by the Watcher.
	Watch(ctx context.Context, after rebind.Revision) Watcher

	// Head returns the store's present revision by a linearizable read: no
	// change acknowledged before the call has a higher one.
	Head(ctx context.Context) (rebind.Revision, error)

	// Tally tells, by a linearizable read, how many mementos there were at a
	// revision. It returns [ErrCompacted] when the store no longer knows, and
	// [ErrAhead] when it has not come to that revision.
	Tally(ctx context.Context, at rebind.Revision) (int64, error)

	// Incarnation counts how often the store was found, by whoever asked it, to be older
	// than it was or another one. Load, Head and streams that began in an earlier
	// life end with an [ErrRestored].
	Incarnation() uint64

	// Restored ends a life, if it is the present one: whoever calls has found that
	// the store is no longer what it was. It returns an [ErrRestored] that says how.
	Restored(life uint64, how string) error
}

// Page is a part of a load.
type Page struct {
	// Changes may be none: then the page tells that the load advances.
	Changes []rebind.Change
	// Total is how many mementos the whole load will bring.
	Total int64
	// Bytes is how many have come so far, of what is not complete yet too; 0 where
	// that is not known.
	Bytes int64
}

// Watcher is one open stream of changes. Its methods may be called from
// different goroutines, each by one. It never goes on over another connection than it
// began with: between the two the store may have become another one.
type Watcher interface {
	// Next blocks for the next batch. Every batch holds whole revisions, in
	// order. After an error, which is [ErrCompacted] when changes were lost and
	// the context's if it ended, the Watcher is spent.
	Next(ctx context.Context) (Batch, error)
	// Progress asks the store how far the stream has come. The answer is a later
	// Batch, perhaps without changes; a request may go unanswered, so ask again.
	Progress(ctx context.Context) error
	// Close ends the stream.
	Close()
}

// Batch is a step of a [Watcher]: with it applied, a copy is complete up to and
// including Revision.
type Batch struct {
	Revision rebind.Revision
	Changes  []rebind.Change
}
