package coordinator

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/retry"
	"github.com/coordinator-ha/coordinator/modes"
)

// A master follows the whole plane: it picks successors, and says of nodes that
// vanished that they did. Were every node to do so, N nodes that start together
// would be told N² changes. So the others follow narrowly, and glance at the whole
// plane the seldomer the larger it is: what a node costs in a second is then the
// same in a plane of any size.

const (
	// glanceEvery is the longest time between two glances at a small plane.
	glanceEvery = 5 * time.Second
	// glanceShare is what each node of a plane adds to that, once they come to more.
	glanceShare = 100 * time.Millisecond
	// lingerFor is for how long a node goes on to follow the whole plane when it has
	// no more reason to: it may soon lead again, and to turn costs a moment's sight.
	lingerFor = 30 * time.Second
)

// sight is how much of the plane is followed.
type sight struct {
	wanted bool      // the whole plane is to be followed
	since  time.Time // when it was wanted last
	wide   bool      // the whole plane is followed
	turn   func()    // has the present following begin anew; nil while there is none
}

// face returns what the next following is for, a node or, if that is empty, the whole
// plane, and a context that ends when that is to change.
func (o *outlook) face(ctx context.Context) (following context.Context, node string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.turn != nil {
		o.turn() // it has ended: this frees what it held
	}
	following, o.turn = context.WithCancel(ctx)
	o.wide = o.wanted
	if o.wide {
		return following, ""
	}
	return following, o.node
}

// widen has the whole plane followed from now on, or ends that, after a while. It
// does not wait until the plane is seen so.
func (o *outlook) widen(wanted bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if wanted || o.wanted {
		o.since = time.Now()
	}
	o.wanted = wanted
	if wanted && !o.wide && o.turn != nil {
		o.turn()
	}
}

// aside reports whether the plane is followed narrowly, and has that come to be so
// where the whole of it has not been wanted for long.
func (o *outlook) aside() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.wide && !o.wanted && time.Since(o.since) > lingerFor {
		o.turn()
	}
	return !o.wide && !o.wanted
}

// glance looks at the whole plane now and then while it is followed narrowly, until
// ctx ends. Nodes that start together do not know how many they are: each counts
// before it looks, and waits for as long as befits the number.
func (o *outlook) glance(ctx context.Context, store driver.Store, log *zap.Logger) {
	for wait := time.Duration(0); retry.Wait(ctx, wait) == nil; wait = within(glanceEvery) {
		if !o.aside() {
			continue
		}
		nodes, err := store.Size(ctx)
		more := time.Duration(nodes)*glanceShare - glanceEvery
		if more > 0 && retry.Wait(ctx, within(more)) != nil {
			return
		}
		if !o.aside() {
			continue // by now
		}
		var p driver.Plane
		if err == nil {
			p, err = store.Plane(ctx)
		}
		if err != nil {
			log.Debug("plane not read, retrying", zap.Error(err))
			continue
		}
		o.glanced(&p)
		o.poke() // what the role loop waits to see may not come by itself
	}
}

// within returns a time of at most d, at random, so that nodes that started together
// do not go on together.
func within(d time.Duration) time.Duration { return d/2 + rand.N(d/2) }

// glanced takes a whole picture beside those that are followed.
func (o *outlook) glanced(p *driver.Plane) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.last.Narrow || p.Revision < o.last.Revision {
		return // more is known by now
	}
	o.noteLocked(p)
	o.missLocked(p)
	o.all = *p
}

// size returns how many nodes the plane had when the whole of it was seen last.
func (o *outlook) size() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.all.Members)
}

// whole returns the plane as far as it is known: what is followed as it is, and the
// others as they were at the last glance. Left out are those that have gone since,
// and who led then and does not now, of whom more is not known.
func (o *outlook) whole() driver.Plane {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := lift(o.last)
	if !p.Narrow {
		return p
	}
	p.Narrow, p.Strays = false, o.all.Strays
	near := o.last.Members
	p.Members = slices.Clone(near)
	for _, m := range o.all.Members {
		_, gone := o.gone[m.ID]
		switch {
		case m.ID == o.node:
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
	p.Departed = slices.DeleteFunc(slices.Clone(o.all.Departed), func(l driver.Departed) bool {
		return slices.ContainsFunc(near, func(m driver.Member) bool { return m.ID == l.ID })
	})
	return p
}
