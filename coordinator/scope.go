package coordinator

import (
	"context"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/retry"
)

// This file follows the plane, and decides how much of it. Node.Run starts its two
// goroutines: planeCache.follow and planeCache.poll.
//
// A master follows the whole plane: it chooses successors and records the departure of
// nodes that vanished. If every node did so, N nodes that start together would be sent N²
// changes. So the other nodes follow only what is near, and poll the whole plane less
// often the larger it is: what a node costs in a second is then the same in a plane of any
// size.

const (
	// pollEvery is the longest time between two polls of a small plane.
	pollEvery = 5 * time.Second
	// pollShare is what each node of a plane adds to that, once they come to more.
	pollShare = 100 * time.Millisecond
	// lingerFor is for how long a node goes on following the whole plane when it has
	// no more reason to: it may soon lead again, and a change of scope takes a moment in
	// which it sees nothing.
	lingerFor = 30 * time.Second
)

// scope is how much of the plane is followed.
type scope struct {
	wanted  bool      // the whole plane is to be followed
	since   time.Time // when that was wanted last
	whole   bool      // the whole plane is being followed
	restart func()    // begins to follow anew; nil while nothing is followed
}

// follow follows the plane until ctx ends. onTerm is called with each term that is higher
// than told and all before.
func (c *planeCache) follow(ctx context.Context, store driver.Store, told int64, onTerm func(int64), log *zap.Logger) {
	pause := retry.NewBackoff(maxPause)
	level := zap.WarnLevel // log the first failure of a series as a warning, the rest at debug
	seen := func() {
		if _, now := c.memory(); now > told { // it may also have risen by pictures that were read
			told = now
			onTerm(now)
		}
		pause.Reset()
		level = zap.WarnLevel
	}
	for {
		following, whole := c.nextScope(ctx)
		var err error
		if whole {
			err = store.Follow(following, func(p driver.Plane) {
				c.setWhole(p)
				seen()
			})
		} else {
			err = store.FollowNear(following, c.node, func(p driver.NearPlane) {
				c.setNear(p)
				seen()
			})
		}
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

// nextScope tells whether the whole plane is to be followed next, and returns a context
// that ends when that is to change.
func (c *planeCache) nextScope(ctx context.Context) (following context.Context, whole bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.scope
	if s.restart != nil {
		s.restart() // the last one has ended: this frees what it held
	}
	following, s.restart = context.WithCancel(ctx)
	s.whole = s.wanted
	return following, s.whole
}

// followAll begins to follow the whole plane, or stops that after a while. It does not
// wait for the first picture.
func (c *planeCache) followAll(wanted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.scope
	if wanted || s.wanted {
		s.since = time.Now()
	}
	s.wanted = wanted
	if wanted && !s.whole && s.restart != nil {
		s.restart()
	}
}

// narrow reports whether only what is near is followed, and changes to that if the whole
// plane has not been wanted for long.
func (c *planeCache) narrow() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.scope
	if s.whole && !s.wanted && time.Since(s.since) > lingerFor {
		s.restart()
	}
	return !s.whole && !s.wanted
}

// poll reads the whole plane from time to time while only what is near is followed, until
// ctx ends. Nodes that start together do not know how many they are: each counts before it
// reads, and waits for a time that depends on the number.
func (c *planeCache) poll(ctx context.Context, store driver.Store, log *zap.Logger) {
	for wait := time.Duration(0); retry.Wait(ctx, wait) == nil; wait = within(pollEvery) {
		if !c.narrow() {
			continue
		}
		nodes, err := store.Size(ctx)
		more := time.Duration(nodes)*pollShare - pollEvery
		if more > 0 && retry.Wait(ctx, within(more)) != nil {
			return
		}
		if !c.narrow() { // any more
			continue
		}
		var p driver.Plane
		if err == nil {
			p, err = store.Plane(ctx)
		}
		if err != nil {
			log.Debug("plane not read, retrying", zap.Error(err))
			continue
		}
		c.merge(&p)
		c.wake() // what the loop waits for may be in this picture and in no other
	}
}

// within returns a random time between half of d and d, so that nodes that started
// together do not stay in step.
func within(d time.Duration) time.Duration { return d/2 + rand.N(d/2) }
