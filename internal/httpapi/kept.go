package httpapi

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/coordinator-ha/coordinator/rebind"
)

const (
	// keepListing is how long the revision of a listing is kept for the next page.
	keepListing = time.Minute
	// maxListings bounds how many revisions are kept.
	maxListings = 64
	// maxOutdated bounds, in bytes, what is kept for clients and no longer current: of
	// views that are kept for the next page, and of answers that are not taken.
	maxOutdated = 32 << 20
	// changeTakes is about what a view that is kept holds on to for each change since,
	// beside the memento: the branches that led to it.
	changeTakes = 4 << 10
	// sweepEvery is how often it is looked at what is kept.
	sweepEvery = time.Second
)

// listings keeps the views that clients are paging through.
type listings struct {
	node Node

	mu      sync.Mutex // guards the fields below
	views   map[moment]*kept
	sweeper *time.Timer // nil while nothing is kept
}

// moment is a revision of one life of the store.
type moment struct {
	life uint64
	at   rebind.Revision
}

// momentOf is when a view is of.
func momentOf(v *rebind.View) moment { return moment{v.Life(), v.Revision()} }

// kept is a listing that may go on.
type kept struct {
	view *rebind.View // nil once that is too dear: then the store is read
	past rebind.Past  // of the view
	used time.Time
}

func newListings(node Node) *listings {
	return &listings{node: node, views: make(map[moment]*kept)}
}

// keep holds on to a view for a while after it was last used.
func (l *listings) keep(v *rebind.View) {
	l.mu.Lock()
	defer l.mu.Unlock()
	then := momentOf(v)
	if k, ok := l.views[then]; ok {
		k.used = time.Now()
		return
	}
	if len(l.views) == maxListings {
		l.dropOldest()
	}
	l.views[then] = &kept{view: v, past: v.Past(), used: time.Now()}
	if l.sweeper == nil {
		l.sweeper = time.AfterFunc(sweepEvery, l.sweep)
	}
}

func (l *listings) dropOldest() {
	var oldest moment
	for then, k := range l.views {
		if oldest.at == 0 || k.used.Before(l.views[oldest].used) {
			oldest = then
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
	for then, k := range l.views {
		if time.Since(k.used) >= keepListing || err == nil && then.life != reading.View.Life() {
			delete(l.views, then)
		} else if err != nil || dear(reading.View, k.past, changeTakes) {
			k.view = nil
		}
	}
	if len(l.views) == 0 {
		l.sweeper = nil
	} else {
		l.sweeper.Reset(sweepEvery)
	}
}

// dear reports whether too much has changed since a past to keep what was there.
func dear(now *rebind.View, past rebind.Past, each int64) bool {
	since, same := now.Since(past)
	return !same || since.Bytes+each*since.Changes > maxOutdated
}

// get tells whether a listing is kept, and returns its view: nil if it has to be read
// from the store, which is the one of the view as long as now has the same past. None
// outlives its store.
func (l *listings) get(then moment, now *rebind.View) (v *rebind.View, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k, ok := l.views[then]
	if !ok || then.life != now.Life() || time.Since(k.used) >= keepListing {
		return nil, false
	}
	if _, same := now.Since(k.past); k.view == nil && !same {
		return nil, false
	}
	k.used = time.Now()
	return k.view, true
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

// pin has a request answer with what a view has, and with size bytes that are its own. A
// client that does not take its answer is given up when too much of what the view has is
// kept for it alone.
func (s *Server) pin(ctx context.Context, w http.ResponseWriter, size int64, view *rebind.View) error {
	p := patientOf(w)
	if err := s.answers.take(ctx, &p.hold, size); err != nil {
		return err
	}
	past := view.Past()
	p.hold.lookEvery(sweepEvery, func() (late bool) {
		now, err := s.node.Read()
		return err != nil || dear(now.View, past, 0)
	})
	return nil
}
