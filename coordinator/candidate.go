package coordinator

// This file is a node's part in one election: everything that a candidate decides. The
// store keeps the queue and the term transaction, see [driver.Candidacy]; package policy
// ranks the candidates. The loop starts a candidate, may tell it to step forward, and
// takes up what it ends with; the rest belongs to the candidate's own goroutine.

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/clock"
	"github.com/coordinator-ha/coordinator/internal/policy"
	"github.com/coordinator-ha/coordinator/internal/retry"
)

// candidate is this node while it stands for election.
type candidate struct {
	// What it is started with.
	node      string
	cache     *planeCache
	log       *zap.Logger
	limit     time.Duration // how long it may fail before it makes room
	ordered   bool          // an operator wants this node to lead: it makes way for nobody
	alone     bool          // it may lead only while no other node is here, nor was since inspected
	inspected int64

	cancel    context.CancelFunc
	forward   chan struct{} // holds a token when the candidate is to step forward
	done      chan struct{} // closed when it is no longer a candidate; then the next fields are final:
	term      driver.Term   // what it has won or was given; nil if nothing
	err       error         // why it has no term
	chosen    bool          // it decided to take the term, which was not handed over
	seen      driver.Plane  // the plane that it decided on
	here      bool          // this node was here when the term before ended
	prevEnded time.Time     // when it saw that; zero if it did not

	// Of the loop.
	given   clock.Moment // when this node was seen to hold the term; zero if it does not
	stepped int64        // the term after which it last stepped forward because the master had named it
	overdue time.Time    // when the present vacancy will have lasted too long; zero without one

	// Of its own goroutine.
	election  driver.Candidacy
	attempts  policy.Attempts
	quiet     bool             // the present series of failures has been logged
	jump      bool             // it may take a vacant term out of its turn
	vacant    int64            // the last term when it decided to jump or to make way
	holding   bool             // it could take the term, and waits for the plane to change
	lifts     <-chan time.Time // fires when the pause is over for which it holds; nil without one
	yieldOver <-chan time.Time // fires when it has made way for long enough; nil while it does not
	vacancy   int64            // the vacancy for which the next two count: the one after this term
	since     time.Time        // when it first saw that; zero before it has
	yields    int              // how often it has made way in it
}

// move is what a candidate does next.
type move int

const (
	waits move = iota // it can do nothing before something changes
	wins              // it has a term
	quits             // it leaves the election
)

// run stands for election until the candidate has a term, has left, or has lost its
// presence.
func (c *candidate) run(ctx context.Context, presence driver.Presence) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var err error
	if c.election, err = presence.Stand(ctx); err != nil {
		return err
	}
	c.waitTurn()
	pause := retry.NewBackoff(maxPause)
	for {
		changed := c.election.Changed()
		position, did, err := c.act(ctx)
		switch {
		case did == wins:
			return nil
		case did == quits:
			return c.leave(ctx, err)
		case ctx.Err() != nil:
			return c.leave(ctx, context.Cause(ctx))
		}
		fine, stuck := c.judge(position, err)
		if stuck != nil {
			return c.leave(ctx, stuck)
		}
		if fine {
			pause.Reset()
		}
		var again <-chan time.Time
		lifts, yieldOver, forward := c.lifts, c.yieldOver, c.forward
		if err != nil {
			c.complain(err)
			again, lifts, yieldOver, forward = time.After(pause.Next()), nil, nil, nil
			if !c.election.Position().Awarded { // as it is where only the answer was lost
				changed = nil
			}
		}
		if !c.election.Position().Queued {
			forward = nil // it could not look, and would take the next change for another node's term
		}
		select {
		case <-changed:
		case <-again:
		case <-lifts:
		case <-yieldOver:
			c.stepForward()
		case <-forward:
			c.stepForward()
		case <-presence.Lost():
			cancel(presence.Cause())
			return c.leave(ctx, presence.Cause())
		case <-ctx.Done():
			return c.leave(ctx, context.Cause(ctx))
		}
	}
}

// complain logs the first failure of a series as a warning, and the rest at debug level.
func (c *candidate) complain(err error) {
	level := zapcore.WarnLevel
	if c.quiet || errors.Is(err, driver.ErrChanged) {
		level = zapcore.DebugLevel
	} else {
		c.quiet = true
	}
	c.log.Log(level, "campaign interrupted, retrying", zap.Error(err))
}

// judge takes note of how acting went, at the given position. It tells whether the candidate
// is well, in the queue or holding, and returns an error when it is to make room for
// others. That others have changed the plane says nothing of this candidate, nor does an
// act before its key is there.
func (c *candidate) judge(position driver.Position, err error) (fine bool, stuck error) {
	fine = c.holding || err == nil && position.Queued
	switch {
	case !fine && (err == nil || errors.Is(err, driver.ErrChanged)):
		return false, nil
	case !fine:
		c.attempts.Failed(err, position.Term, time.Now())
	}
	stuck = c.attempts.Stuck(position.Term, c.limit, time.Now())
	if fine {
		c.attempts.Succeeded()
		c.quiet = false
	}
	return fine, stuck
}

// leave takes the candidate out of the election because of why, and returns why, or the
// cause of the presence if that had to end with it.
func (c *candidate) leave(ctx context.Context, why error) error {
	if err := c.election.Leave(context.WithoutCancel(ctx), why); err != nil {
		return err
	}
	return why
}

// act does what the candidate's position calls for. All candidates hear of the same changes,
// and what each of them reads grows with their number: it looks at the plane only where
// that could change something.
func (c *candidate) act(ctx context.Context) (driver.Position, move, error) {
	position := c.election.Position()
	holding := c.holding
	c.holding, c.lifts = false, nil
	if position.Awarded {
		did, err := c.accept()
		return position, did, err
	}
	if position.Term > c.vacant {
		c.waitTurn() // another node has taken it
	}
	if position.Term > c.seen.Holder.Term {
		c.chosen = false // the term that this candidate tried to begin did not begin
	}
	switch {
	case position.Gone, position.Turn && position.Spent:
		return position, waits, c.election.Requeue(ctx)
	case position.Turn && c.defers(position.Term):
		c.vacant = position.Term
		return position, waits, c.makeWay(ctx)
	case position.Turn, position.Failed, c.jump && position.Queued, holding:
		did, err := c.look(ctx, position.Turn)
		return position, did, err
	default:
		return position, waits, nil
	}
}

// accept takes up the term that the candidate was given.
func (c *candidate) accept() (move, error) {
	term, err := c.election.Accept()
	if err != nil {
		return waits, err
	}
	c.term = term
	return wins, nil
}

// look reads the plane and decides on it.
func (c *candidate) look(ctx context.Context, turn bool) (move, error) {
	s, err := c.election.Look(ctx)
	if err != nil {
		return waits, err
	}
	if s.Awarded {
		return c.accept()
	}
	c.vacant = s.Plane.Holder.Term
	if s.Plane.Held {
		c.waitTurn()
	}
	switch {
	case !turn && (!c.jump || s.Plane.Held):
		return waits, nil
	case !s.Open:
		return waits, c.election.Requeue(ctx)
	}
	return c.decide(ctx, &s, turn)
}

// decide takes the vacant term that s shows, makes way, holds or quits.
func (c *candidate) decide(ctx context.Context, s *driver.Situation, turn bool) (move, error) {
	p := &s.Plane
	c.cache.note(p)
	planeID, after := c.cache.memory()
	c.see(p.Holder.Term)
	if foreign(planeID, &p.PlaneCore) != nil {
		c.hold(nil) // the loop is about to report it
		return waits, nil
	}
	if c.alone {
		if why := company(c.node, c.inspected, p); why != nil {
			return quits, why
		}
	}
	choice, better := policy.Choose(*p, c.node, c.ordered)
	if choice == policy.MakeWay && (c.yields == policy.MaxYields || time.Since(c.since) >= policy.YieldFor) {
		c.log.Warn("better candidate does not take the term, leading instead", zap.String("better", better))
		choice = policy.Take
	}
	switch choice {
	case policy.Hold:
		c.since = time.Time{} // making way is not tried before the pause is over
		c.hold(p.Pause.Until)
		return waits, nil
	case policy.MakeWay:
		c.yields++
		c.log.Info("making way for a better candidate", zap.String("better", better))
		c.waitTurn()
		if !turn {
			return waits, nil // its place in the queue is as good as it was
		}
		return waits, c.makeWay(ctx)
	case policy.Take:
	}
	c.chosen, c.seen = true, *p
	c.prevEnded, c.here = c.cache.sawEnd(c.vacancy)
	term, err := c.election.Begin(ctx, *s, driver.Conditions{PlaneID: planeID, After: after, InPause: c.ordered, Alone: c.alone})
	if err != nil {
		return waits, err
	}
	c.term = term
	return wins, nil
}

// hold waits until the plane changes, or until a moment of the wall clock: a pause that
// ends by itself may leave nothing that tells of it.
func (c *candidate) hold(until *time.Time) {
	c.holding = true
	if until != nil {
		c.lifts = time.After(time.Until(*until))
	}
}

// makeWay goes to the end of the queue, and waits for the better candidate for a while.
func (c *candidate) makeWay(ctx context.Context) error {
	c.yieldOver = time.After(policy.YieldFor)
	return c.election.Requeue(ctx)
}

// stepForward has the candidate take the vacant term out of its turn.
func (c *candidate) stepForward() { c.jump, c.vacant = true, c.election.Position().Term }

// waitTurn has the candidate wait for its turn again.
func (c *candidate) waitTurn() { c.jump, c.yieldOver = c.ordered, nil }

// see begins to count for the vacancy after the given term, if that is a new one.
func (c *candidate) see(term int64) {
	if c.vacancy != term || c.since.IsZero() {
		c.vacancy, c.since, c.yields = term, time.Now(), 0
	}
}

// defers makes way once in the vacancy after a term, without a look, where the master has
// named another node as its successor: that one is stepping forward.
func (c *candidate) defers(term int64) bool {
	successor := c.cache.successorOf(term)
	if c.ordered || c.alone || successor == "" || successor == c.node {
		return false
	}
	c.see(term)
	if c.yields > 0 {
		return false
	}
	c.yields++
	return true
}
