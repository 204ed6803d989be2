package storetest

import (
	"context"
	"errors"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
)

// Decision is what a [Candidate] does about a vacant term.
type Decision int

// The decisions of a candidate.
const (
	Take    Decision = iota // begin the term
	MakeWay                 // go to the end of the queue, if its turn has come
	Hold                    // wait until the plane has changed
	Quit                    // leave the election
)

// ErrQuit is why a candidate has no term that has decided to quit.
var ErrQuit = errors.New("the candidate has decided to quit")

// Candidate is the least that stands for election on a [driver.Candidacy]. The zero value
// takes every term that it can, in its turn.
type Candidate struct {
	// Decide is shown each plane in which the candidate could begin a term; nil takes it.
	Decide func(driver.Plane) Decision
	// Defer is asked when the candidate's turn has come, and told the last term. If it says
	// so, the candidate goes to the end of the queue without a look. nil never does.
	Defer func(term int64) bool
	// Conditions are what a term is begun with; nil has none.
	Conditions func() driver.Conditions
	// Jump has the candidate take a vacant term out of its turn.
	Jump bool
	// Forward has it do so for one term.
	Forward <-chan struct{}
}

// retryEvery is how long a candidate waits after a failure.
const retryEvery = 20 * time.Millisecond

// Lead stands for election until it has a term, or until ctx or the presence ends: then it
// has left, and returns why.
func (c Candidate) Lead(ctx context.Context, presence driver.Presence) (driver.Term, error) {
	election, err := presence.Stand(ctx)
	if err != nil {
		return nil, err
	}
	leave := func(why error) error {
		if err := election.Leave(context.WithoutCancel(ctx), why); err != nil {
			return err
		}
		return why
	}
	s := stand{Candidate: c, Candidacy: election, jump: c.Jump}
	for {
		changed := election.Changed()
		term, err := s.act(ctx)
		var again <-chan time.Time
		switch {
		case err == nil:
			return term, nil
		case errors.Is(err, ErrQuit):
			return nil, leave(err)
		case !errors.Is(err, errWait):
			again = time.After(retryEvery)
		}
		forward := c.Forward
		if !election.Position().Queued {
			forward = nil // it could not look, and would take the next change for another's term
		}
		select {
		case <-changed:
		case <-again:
		case <-forward:
			s.jump, s.vacant = true, election.Position().Term
		case <-presence.Lost():
			return nil, leave(presence.Cause())
		case <-ctx.Done():
			return nil, leave(context.Cause(ctx))
		}
	}
}

// stand is a candidate at work.
type stand struct {
	Candidate
	driver.Candidacy
	jump    bool
	holding bool
	vacant  int64 // the last term when it was told to jump
}

// errWait is why a candidate has no term yet.
var errWait = errors.New("not yet")

func (s *stand) act(ctx context.Context) (driver.Term, error) {
	position := s.Position()
	holding := s.holding
	s.holding = false
	if !position.Awarded && position.Term > s.vacant {
		s.jump = s.Jump
	}
	switch {
	case position.Awarded:
		return s.Accept()
	case position.Gone, position.Turn && position.Spent, position.Turn && s.Defer != nil && s.Defer(position.Term):
		return nil, s.requeue(ctx)
	case position.Turn, position.Failed, s.jump && position.Queued, holding:
		return s.look(ctx, position.Turn)
	default:
		return nil, errWait
	}
}

func (s *stand) look(ctx context.Context, turn bool) (driver.Term, error) {
	seen, err := s.Look(ctx)
	switch {
	case err != nil:
		return nil, err
	case seen.Awarded:
		return s.Accept()
	case !turn && (!s.jump || seen.Plane.Held):
		return nil, errWait
	case !seen.Open:
		return nil, s.requeue(ctx)
	}
	decision := Take
	if s.Decide != nil {
		decision = s.Decide(seen.Plane)
	}
	switch decision {
	case MakeWay:
		s.jump = s.Jump
		if !turn {
			return nil, errWait
		}
		return nil, s.requeue(ctx)
	case Hold:
		s.holding = true
		if p := seen.Plane.Pause; p != nil && p.Until != nil {
			return nil, s.pause(ctx, *p.Until)
		}
		return nil, errWait
	case Quit:
		return nil, ErrQuit
	case Take:
	}
	var conditions driver.Conditions
	if s.Conditions != nil {
		conditions = s.Conditions()
	}
	return s.Begin(ctx, seen, conditions)
}

// errAgain has the candidate act again soon.
var errAgain = errors.New("again")

// pause waits for the end of a pause, or for a change.
func (s *stand) pause(ctx context.Context, until time.Time) error {
	select {
	case <-time.After(time.Until(until)):
	case <-s.Changed():
	case <-ctx.Done():
	}
	return errAgain
}

func (s *stand) requeue(ctx context.Context) error {
	if err := s.Requeue(ctx); err != nil {
		return err
	}
	return errWait
}
