// This file keeps the views of listings between their pages, and drops those that have become
// costly.

package httpapi

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/coordinator-ha/coordinator/rebind"
)

const (
	// listingTTL is how long a view is kept for the next page.
	listingTTL = time.Minute
	// maxListings limits how many views are kept.
	maxListings = 64
	// maxOutdated limits, in bytes, the outdated state that is kept for clients: in views for
	// the next page, and in answers that clients are slow to take.
	maxOutdated = 32 << 20
	// bytesPerChange is about how much a kept view holds in memory for each later change, in
	// addition to the memento: the nodes of the tree on the path to it.
	bytesPerChange = 4 << 10
	// sweepInterval is how often the kept views are checked.
	sweepInterval = time.Second
)

// listings keeps the views of listings that have a next page.
type listings struct {
	node NodeReads

	mu      sync.Mutex // guards the fields below
	views   map[viewID]*savedListing
	sweeper *time.Timer // nil while no view is kept
}

// viewID identifies a view: a revision, and the incarnation of the store that has it.
type viewID struct {
	life uint64
	at   rebind.Revision
}

// viewIDOf returns the id of a view.
func viewIDOf(v *rebind.View) viewID { return viewID{v.Incarnation(), v.Revision()} }

// savedListing is a listing that may be continued.
type savedListing struct {
	view     *rebind.View // nil once it is too costly to keep; pages are then read from the store
	past     past         // of the view
	lastUsed time.Time
}

func newListings(node NodeReads) *listings {
	return &listings{node: node, views: make(map[viewID]*savedListing)}
}

// save keeps a view for listingTTL after its last use.
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
	l.views[id] = &savedListing{view: v, past: pastOf(v), lastUsed: time.Now()}
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

// sweep drops the listings that were not used for listingTTL, and the views that have become
// too costly.
func (l *listings) sweep() {
	reading, err := l.node.Read()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sweeper == nil {
		return // closed
	}
	for id, saved := range l.views {
		if time.Since(saved.lastUsed) >= listingTTL || err == nil && id.life != reading.View.Incarnation() {
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

// past is [rebind.View.Past] of a view, or the difference of two.
type past struct {
	load            uint64
	mementos, bytes int64
}

func pastOf(v *rebind.View) (p past) {
	p.load, p.mementos, p.bytes = v.Past()
	return p
}

// since returns how much has been replaced or deleted between the view with this past and now.
// known is false if the copy was loaded anew between them: then they share nothing.
func (p past) since(now *rebind.View) (difference past, known bool) {
	n := pastOf(now)
	return past{n.load, n.mementos - p.mementos, n.bytes - p.bytes}, n.load == p.load
}

// tooCostly reports whether so much has changed since past that its view costs too much memory.
func tooCostly(now *rebind.View, past past, perChange int64) bool {
	since, known := past.since(now)
	return !known || since.bytes+perChange*since.mementos > maxOutdated
}

// find reports whether a listing can be continued, and returns its view. The view is nil if the
// page has to be read from the store. A listing does not outlive the incarnation of the store
// that it began in.
func (l *listings) find(id viewID, now *rebind.View) (v *rebind.View, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	saved, ok := l.views[id]
	if !ok || id.life != now.Incarnation() || time.Since(saved.lastUsed) >= listingTTL {
		return nil, false
	}
	if _, known := saved.past.since(now); saved.view == nil && !known {
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

// pinView acquires memory for an answer that is written from a view and takes size bytes of its
// own. A client that is slow to take its answer is evicted when the view has become too costly.
func (s *Server) pinView(ctx context.Context, w http.ResponseWriter, size int64, view *rebind.View) error {
	dw := deadlineWriterOf(w)
	if err := s.answers.acquire(ctx, &dw.permit, size); err != nil {
		return err
	}
	past := pastOf(view)
	dw.permit.evictWhen(sweepInterval, func() (late bool) {
		now, err := s.node.Read()
		return err != nil || tooCostly(now.View, past, 0)
	})
	return nil
}
