package httpapi

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/coordinator-ha/coordinator/rebind"
)

const (
	// listingTTL is how long the revision of a listing is kept for the next page.
	listingTTL = time.Minute
	// maxListings bounds how many revisions are kept.
	maxListings = 64
	// maxOutdated bounds, in bytes, what is kept for clients and no longer current: of
	// views that are kept for the next page, and of answers that are not taken.
	maxOutdated = 32 << 20
	// bytesPerChange is about what a view that is kept holds on to for each change since,
	// beside the memento: the branches that led to it.
	bytesPerChange = 4 << 10
	// sweepInterval is how often it is looked at what is kept.
	sweepInterval = time.Second
)

// listings keeps the views that clients are paging through.
type listings struct {
	node NodeReads

	mu      sync.Mutex // guards the fields below
	views   map[viewID]*savedListing
	sweeper *time.Timer // nil while nothing is kept
}

// viewID is a revision of one life of the store.
type viewID struct {
	life uint64
	at   rebind.Revision
}

// viewIDOf is when a view is of.
func viewIDOf(v *rebind.View) viewID { return viewID{v.Life(), v.Revision()} }

// savedListing is a listing that may go on.
type savedListing struct {
	view     *rebind.View // nil once that is too dear: then the store is read
	past     rebind.Past  // of the view
	lastUsed time.Time
}

func newListings(node NodeReads) *listings {
	return &listings{node: node, views: make(map[viewID]*savedListing)}
}

// keep holds on to a view for a while after it was last used.
func (l *listings) save(v *rebind.View) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := viewIDOf(v)
	if saved, ok := l.views[id]; ok {
		saved.lastUsed = time.Now()
		return
	}
	if len(l.views) == maxListings {
		l.dropOldest()
	}
	l.views[id] = &savedListing{view: v, past: v.Past(), lastUsed: time.Now()}
	if l.sweeper == nil {
		l.sweeper = time.AfterFunc(sweepInterval, l.sweep)
	}
}

func (l *listings) dropOldest() {
	var oldest viewID
	for id, saved := range l.views {
		if oldest.at == 0 || saved.lastUsed.Before(l.views[oldest].lastUsed) {
			oldest = id
		}
	}
	delete(l.views, oldest)
}

// sweep forgets what was not used for long, and lets go of views that have become dear.
func (l *listings) sweep() {
	reading, err := l.node.Read()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sweeper == nil {
		return // closed
	}
	for id, saved := range l.views {
		if time.Since(saved.lastUsed) >= listingTTL || err == nil && id.life != reading.View.Life() {
			delete(l.views, id)
		} else if err != nil || tooCostly(reading.View, saved.past, bytesPerChange) {
			saved.view = nil
		}
	}
	if len(l.views) == 0 {
		l.sweeper = nil
	} else {
		l.sweeper.Reset(sweepInterval)
	}
}

// tooCostly reports whether too much has changed since a past to keep what was there.
func tooCostly(now *rebind.View, past rebind.Past, perChange int64) bool {
	since, known := now.Since(past)
	return !known || since.Bytes+perChange*since.Changes > maxOutdated
}

// find tells whether a listing is kept, and returns its view: nil if it has to be read
// from the store, which is the one of the view as long as now has the same past. None
// outlives its store.
func (l *listings) find(id viewID, now *rebind.View) (v *rebind.View, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	saved, ok := l.views[id]
	if !ok || id.life != now.Life() || time.Since(saved.lastUsed) >= listingTTL {
		return nil, false
	}
	if _, known := now.Since(saved.past); saved.view == nil && !known {
		return nil, false
	}
	saved.lastUsed = time.Now()
	return saved.view, true
}

func (l *listings) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.views)
	if l.sweeper != nil {
		l.sweeper.Stop()
		l.sweeper = nil
	}
}

// pinView has a request answer with what a view has, and with size bytes that are its own. A
// client that does not take its answer is given up when too much of what the view has is
// kept for it alone.
func (s *Server) pinView(ctx context.Context, w http.ResponseWriter, size int64, view *rebind.View) error {
	dw := deadlineWriterOf(w)
	if err := s.answers.acquire(ctx, &dw.permit, size); err != nil {
		return err
	}
	past := view.Past()
	dw.permit.evictWhen(sweepInterval, func() (late bool) {
		now, err := s.node.Read()
		return err != nil || tooCostly(now.View, past, 0)
	})
	return nil
}
