package coordinator

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/retry"
)

// outlook is what a node sees of its plane: the newest picture, and when the
// last holders were seen to go.
type outlook struct {
	node  string        // whose it is
	poked chan struct{} // holds a token when the role loop has something to look at
	told  int64         // run's own: the highest term that it has told of

	mu    sync.Mutex   // guards the fields below
	sight              // how much of the plane is followed
	last  driver.Plane // as it is followed
	all   driver.Plane // the last that was not narrow
	moved chan struct{}
	alive int64                    // the highest term this node has seen held
	ended int64                    // the highest term this node has seen end
	when  time.Time                // that it saw the end of that term
	next  heir                     // whom the last master named
	id    string                   // the plane's own, once it is known
	top   int64                    // the highest term it knows of
	gone  map[string]driver.Member // nodes that vanished without a word, by id
}

// heir is who is to follow a term's master.
type heir struct {
	term int64
	node string
}

// maxGone bounds how many vanished nodes are kept for a master to say it.
const maxGone = 1000

// newOutlook returns the outlook of a node that knows what its configuration says.
func newOutlook(cfg *Config) *outlook {
	return &outlook{
		node:  cfg.ID,
		poked: make(chan struct{}, 1), moved: make(chan struct{}),
		told: cfg.HighestTerm, id: cfg.PlaneID, top: cfg.HighestTerm, gone: make(map[string]driver.Member),
		sight: sight{wanted: cfg.Persist == PersistClean},
	}
}

// run follows the plane until ctx ends.
func (o *outlook) run(ctx context.Context, store driver.Store, onTerm func(int64), log *zap.Logger) {
	pause := retry.NewPause(maxPause)
	level := zap.WarnLevel // the first failure of a row is news, the others are not
	for {
		following, node := o.face(ctx)
		err := store.Follow(following, node, func(p driver.Plane) {
			o.see(p)
			if _, now := o.memory(); now > o.told { // it may have risen by what others looked at
				o.told = now
				onTerm(now)
			}
			pause.Reset()
			level = zap.WarnLevel
		})
		if ctx.Err() != nil {
			return
		}
		if following.Err() != nil {
			continue // to follow more of the plane, or less
		}
		wait := pause.Next()
		log.Log(level, "plane out of sight, retrying", zap.Duration("wait", wait), zap.Error(err))
		level = zap.DebugLevel
		if retry.Wait(ctx, wait) != nil {
			return
		}
	}
}

// see takes a newer picture of the plane.
func (o *outlook) see(p driver.Plane) {
	o.mu.Lock()
	o.noteLocked(&p)
	if m, ok := p.Master(); ok {
		o.next = heir{m.Term, m.Next}
	}
	if p.Narrow {
		o.missNearLocked(&p)
	} else {
		o.missLocked(&p)
		o.all = p
	}
	o.last = p
	moved := o.moved
	o.moved = make(chan struct{})
	o.mu.Unlock()
	close(moved)
	o.poke()
}

// note learns from a picture that was read for another purpose and may be older
// or newer than the one followed.
func (o *outlook) note(p *driver.Plane) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.noteLocked(p)
}

func (o *outlook) noteLocked(p *driver.Plane) {
	if o.id == "" {
		o.id = p.ID
	}
	o.top = max(o.top, p.Holder.Term)
	if before := o.last.Holder; o.last.Held && before.Term < p.Holder.Term {
		o.endLocked(before)
	}
	if p.Held {
		o.alive = max(o.alive, p.Holder.Term)
	} else if p.Holder.Term > 0 && p.Holder.Term == o.alive {
		o.endLocked(p.Holder)
	}
}

func (o *outlook) endLocked(h driver.Holder) {
	if h.Term > o.ended {
		o.ended, o.when = h.Term, time.Now()
	}
}

// missLocked keeps the nodes that were in the plane and are neither in what it now
// is nor among those it shows to have left.
func (o *outlook) missLocked(next *driver.Plane) {
	o.keepLocked(o.last.Members)
	if o.last.Narrow {
		o.keepLocked(o.all.Members)
	}
	for _, m := range next.Members {
		delete(o.gone, m.ID)
	}
	for _, l := range next.Departed {
		delete(o.gone, l.ID)
	}
}

// missNearLocked is missLocked for a narrow picture, which tells of two nodes alone.
// A holder that it no longer shows may have gone with its term, or live: the next
// whole picture tells.
func (o *outlook) missNearLocked(next *driver.Plane) {
	for _, m := range o.last.Members {
		if o.last.Narrow || m.ID == o.node || m.ID == next.Holder.Node {
			o.keepLocked([]driver.Member{m})
		}
	}
	for _, m := range next.Members {
		delete(o.gone, m.ID)
	}
}

// keepLocked keeps nodes as having gone of which that is not known yet.
func (o *outlook) keepLocked(members []driver.Member) {
	for _, m := range members {
		if _, known := o.gone[m.ID]; !known && len(o.gone) < maxGone {
			o.gone[m.ID] = m
		}
	}
}

// missing returns the nodes that vanished and of which nothing is kept yet, once
// the whole plane is followed, which alone tells who has left with a word.
func (o *outlook) missing() []driver.Member {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.last.Narrow {
		return nil
	}
	return slices.Collect(maps.Values(o.gone))
}

// buried says that something is kept of a node.
func (o *outlook) buried(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.gone, id)
}

// memory returns the id of the plane this node belongs to, empty as long as it is
// not known, and the highest term it knows of.
func (o *outlook) memory() (planeID string, term int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.id, o.top
}

// belong notes the id of the plane, if none was known. Whoever founds a plane knows
// its id before the stream shows it.
func (o *outlook) belong(planeID string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.id == "" {
		o.id = planeID
	}
}

// poke wakes the role loop.
func (o *outlook) poke() {
	select {
	case o.poked <- struct{}{}:
	default:
	}
}

// plane returns the newest picture, which is narrow while this node does not lead.
func (o *outlook) plane() driver.Plane {
	o.mu.Lock()
	defer o.mu.Unlock()
	return lift(o.last)
}

// end tells whether this node was here when the last term ended, the given one, and when
// it saw that: zero if the term came and went between two pictures. Then it was here if it
// has seen an earlier one alive.
func (o *outlook) end(term int64) (when time.Time, here bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if term != 0 && o.ended == term {
		when = o.when
	}
	return when, o.alive != 0
}

// heir returns the node that the master of the given term said would follow it; empty
// if it named none, or this node did not see it.
func (o *outlook) heir(term int64) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.next.term != term {
		return ""
	}
	return o.next.node
}

// until blocks until the plane is as wanted, and returns it, or the cause of ctx.
func (o *outlook) until(ctx context.Context, wanted func(*driver.Plane) bool) (driver.Plane, error) {
	for {
		o.mu.Lock()
		p, moved := lift(o.last), o.moved
		o.mu.Unlock()
		if wanted(&p) {
			return p, nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return p, context.Cause(ctx)
		}
	}
}

// WaitMaster blocks until the plane has a master that has announced itself, and
// returns it, or [ErrNoMaster] if ctx ends first.
func (n *Node) WaitMaster(ctx context.Context) (driver.Member, error) {
	p, err := n.outlook.until(ctx, func(p *driver.Plane) bool {
		_, ok := p.Master()
		return ok
	})
	if err != nil {
		return driver.Member{}, errors.Join(ErrNoMaster, err)
	}
	m, _ := p.Master()
	return m, nil
}

// WaitSuccessor blocks until the plane has a later term than the given one, and
// returns the cause of ctx if that ends first.
func (n *Node) WaitSuccessor(ctx context.Context, term int64) error {
	_, err := n.outlook.until(ctx, func(p *driver.Plane) bool { return p.Holder.Term > term })
	return err
}

// lift leaves out a pause that is over by now.
func lift(p driver.Plane) driver.Plane {
	if p.Pause.Over(time.Now()) {
		p.Pause = nil
	}
	return p
}
