package coordinator

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
)

// This file holds what a node knows of its plane. Any goroutine may ask; scope.go brings
// the pictures.

// planeCache is what a node knows of its plane: the newest picture, and what it has
// learned from the ones before.
type planeCache struct {
	node    string        // the node that this is the cache of
	changed chan struct{} // holds a token when the loop has something to look at

	mu        sync.Mutex               // guards the fields below
	scope     scope                    // how much of the plane is followed
	near      driver.NearPlane         // the newest picture, of what is followed in any case
	whole     driver.Plane             // the last whole picture
	followed  bool                     // whole is as new as near, because the whole plane is followed
	moved     chan struct{}            // closed when the next picture is there
	alive     int64                    // the highest term that this node has seen held
	ended     int64                    // the highest term that this node has seen end
	endedAt   time.Time                // when it saw that
	successor successor                // named by the last master
	planeID   string                   // empty as long as it is not known
	highest   int64                    // the highest term that this node knows of
	gone      map[string]driver.Member // nodes that vanished and of which no departure is recorded, by id
}

// successor is the node that the master of a term named to follow it.
type successor struct {
	term int64
	node string
}

// maxGone limits how many vanished nodes are kept until a master records their departure.
const maxGone = 1000

// newPlaneCache returns the cache of a node that knows what its configuration says.
func newPlaneCache(cfg *Config) *planeCache {
	return &planeCache{
		node:    cfg.ID,
		changed: make(chan struct{}, 1), moved: make(chan struct{}),
		planeID: cfg.PlaneID, highest: cfg.HighestTerm, gone: make(map[string]driver.Member),
		scope: scope{wanted: cfg.CleanStart},
	}
}

// setWhole takes the next picture of a plane that is followed as a whole.
func (c *planeCache) setWhole(p driver.Plane) {
	c.mu.Lock()
	c.noteLocked(&p.PlaneCore)
	c.compareLocked(&p)
	c.whole, c.followed = p, true
	c.setNearLocked(p.Near(c.node))
}

// setNear takes the next picture of a plane of which only what is near is followed.
func (c *planeCache) setNear(p driver.NearPlane) {
	c.mu.Lock()
	c.noteLocked(&p.PlaneCore)
	c.compareNearLocked(&p)
	c.followed = false
	c.setNearLocked(p)
}

// setNearLocked sets the newest picture, unlocks, and wakes all that wait for it.
func (c *planeCache) setNearLocked(p driver.NearPlane) {
	if m, ok := p.Master(); ok {
		c.successor = successor{m.Term, m.Next}
	}
	c.near = p
	moved := c.moved
	c.moved = make(chan struct{})
	c.mu.Unlock()
	close(moved)
	c.wake()
}

// merge takes a whole picture that was read while only what is near is followed. It is
// dropped if more is known by now.
func (c *planeCache) merge(p *driver.Plane) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.followed || c.near.Revision == 0 || p.Revision < c.near.Revision {
		return
	}
	c.noteLocked(&p.PlaneCore)
	c.compareLocked(p)
	c.whole = *p
}

// note learns from a picture that was read for another purpose and may be older
// or newer than the one followed.
func (c *planeCache) note(p *driver.Plane) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.noteLocked(&p.PlaneCore)
}

func (c *planeCache) noteLocked(p *driver.PlaneCore) {
	if c.planeID == "" {
		c.planeID = p.ID
	}
	c.highest = max(c.highest, p.Holder.Term)
	if before := c.near.Holder; c.near.Held && before.Term < p.Holder.Term {
		c.endLocked(before)
	}
	if p.Held {
		c.alive = max(c.alive, p.Holder.Term)
	} else if p.Holder.Term > 0 && p.Holder.Term == c.alive {
		c.endLocked(p.Holder)
	}
}

func (c *planeCache) endLocked(h driver.Holder) {
	if h.Term > c.ended {
		c.ended, c.endedAt = h.Term, time.Now()
	}
}

// compareLocked keeps the nodes that were in the plane and are neither in what it is now
// nor among those that it shows as departed.
func (c *planeCache) compareLocked(next *driver.Plane) {
	c.keepLocked(c.near.Members)
	c.keepLocked(c.whole.Members)
	c.hereLocked(next.Members)
	for _, l := range next.Departed {
		delete(c.gone, l.ID)
	}
}

// compareNearLocked is compareLocked for a picture of at most two nodes. A holder that it
// no longer shows may have gone with its term, or be alive: the next whole picture tells.
func (c *planeCache) compareNearLocked(next *driver.NearPlane) {
	for _, m := range c.near.Members {
		if !c.followed || m.ID == c.node || m.ID == next.Holder.Node {
			c.keepLocked([]driver.Member{m})
		}
	}
	if m, ok := c.whole.Member(next.Holder.Node); ok && c.followed {
		c.keepLocked([]driver.Member{m})
	}
	c.hereLocked(next.Members)
}

// keepLocked keeps nodes as gone.
func (c *planeCache) keepLocked(members []driver.Member) {
	for _, m := range members {
		if _, known := c.gone[m.ID]; !known && len(c.gone) < maxGone {
			c.gone[m.ID] = m
		}
	}
}

// hereLocked notes that nodes are in the plane.
func (c *planeCache) hereLocked(members []driver.Member) {
	for _, m := range members {
		delete(c.gone, m.ID)
	}
}

// vanished returns the nodes that vanished and of which no departure is recorded yet. It
// returns none unless the whole plane is followed, because no other picture shows the
// departures that nodes recorded themselves.
func (c *planeCache) vanished() []driver.Member {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.followed {
		return nil
	}
	return slices.Collect(maps.Values(c.gone))
}

// departed notes that a node's departure is recorded.
func (c *planeCache) departed(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.gone, id)
}

// memory returns the id of the plane that this node belongs to, empty as long as it is
// not known, and the highest term that it knows of.
func (c *planeCache) memory() (planeID string, term int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.planeID, c.highest
}

// setPlaneID notes the id of the plane, if none was known. The node that founds a plane
// knows its id before any picture shows it.
func (c *planeCache) setPlaneID(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.planeID == "" {
		c.planeID = id
	}
}

// wake makes the loop look again.
func (c *planeCache) wake() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// current returns the newest picture of what is followed in any case.
func (c *planeCache) current() driver.NearPlane {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.currentLocked()
}

func (c *planeCache) currentLocked() driver.NearPlane {
	p := c.near
	p.Pause = inForce(p.Pause)
	return p
}

// currentWhole returns the newest picture of the whole plane, if that is followed.
func (c *planeCache) currentWhole() (p driver.Plane, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.currentWholeLocked()
}

func (c *planeCache) currentWholeLocked() (p driver.Plane, ok bool) {
	p = c.whole
	p.Pause = inForce(p.Pause)
	return p, c.followed
}

// inForce returns a pause unless it is over.
func inForce(p *driver.Pause) *driver.Pause {
	if p.Over(time.Now()) {
		return nil
	}
	return p
}

// sawEnd tells whether this node was here when the last term ended, which is the given
// one, and when it saw that: zero if the term came and went between two pictures. Then the
// node was here if it has seen an earlier term held.
func (c *planeCache) sawEnd(term int64) (at time.Time, here bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if term != 0 && c.ended == term {
		at = c.endedAt
	}
	return at, c.alive != 0
}

// successorOf returns the node that the master of a term named to follow it; empty if
// it named none, or if this node did not see it.
func (c *planeCache) successorOf(term int64) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.successor.term != term {
		return ""
	}
	return c.successor.node
}

// until blocks until the plane is as wanted, and returns it, or the cause of ctx.
func (c *planeCache) until(ctx context.Context, wanted func(*driver.NearPlane) bool) (driver.NearPlane, error) {
	for {
		c.mu.Lock()
		p, moved := c.currentLocked(), c.moved
		c.mu.Unlock()
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

// untilWhole is until for the whole plane. It waits until that is followed.
func (c *planeCache) untilWhole(ctx context.Context, wanted func(*driver.Plane) bool) error {
	for {
		c.mu.Lock()
		p, ok := c.currentWholeLocked()
		moved := c.moved
		c.mu.Unlock()
		if ok && wanted(&p) {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// size returns how many nodes the plane had in the last whole picture.
func (c *planeCache) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.whole.Members)
}

// estimate returns the whole plane as far as it is known: what is followed as it is now,
// and the other nodes as the last whole picture showed them. It leaves out those that have
// gone since, and the one that led then and does not lead now, because it may be dead.
func (c *planeCache) estimate() driver.Plane {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.followed {
		p, _ := c.currentWholeLocked()
		return p
	}
	near := c.currentLocked()
	p := driver.Plane{PlaneCore: near.PlaneCore, Members: slices.Clone(near.Members), Strays: c.whole.Strays}
	for _, m := range c.whole.Members {
		_, gone := c.gone[m.ID]
		switch {
		case m.ID == c.node:
			for i := range p.Members {
				if p.Members[i].CandidateKey == m.CandidateKey && m.CandidateKey != p.Holder.Key {
					p.Members[i].Candidacy = m.Candidacy
				}
			}
		case !gone && m.ID != p.Holder.Node && m.State != modes.StateMaster:
			p.Members = append(p.Members, m)
		}
	}
	slices.SortFunc(p.Members, func(a, b driver.Member) int { return strings.Compare(a.ID, b.ID) })
	p.Departed = slices.DeleteFunc(slices.Clone(c.whole.Departed), func(l driver.Departed) bool {
		_, here := near.Member(l.ID)
		return here
	})
	return p
}
