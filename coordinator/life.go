package coordinator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/retry"
	"github.com/coordinator-ha/coordinator/modes"
)

// This file holds the steps of a node's life other than the election and a term: it
// starts, joins, settles, fails, joins again, leaves the plane, and stops.

// start joins the plane for the first time, if it is one that the node may be in,
// and sees whether the mode allows the node to be here.
func (l *loop) start() step {
	if next := l.inspect(); next != nil {
		return next
	}
	if l.mode == modes.Disabled {
		return l.joinExclusive
	}
	if next := l.enter(true); next != nil {
		return next
	}
	switch {
	case l.mode == modes.Master:
		return l.order(&modeRequest{to: modes.Master, first: true, result: make(chan modeResult, 1)})
	case l.mode.NeedsMaster():
		return l.findMaster
	default:
		return l.settle
	}
}

// findMaster waits for the master that the node's mode needs at start.
func (l *loop) findMaster() step {
	wait, cancel := context.WithTimeout(l.ctx, l.cfg.WaitForMaster)
	defer cancel()
	for {
		p := l.cache.current()
		if _, ok := p.Master(); ok {
			return l.settle
		}
		if wait.Err() != nil {
			return l.giveUp(fmt.Errorf("%w: mode %s needs a live one at start: start a node that leads first, or have this one wait for it", ErrNoMaster, l.mode))
		}
		if _, next := l.await(wait.Done()); next != nil {
			return next
		}
	}
}

// enter joins the plane. It returns nil when the node is in it, or where else it is to
// go. A store that does not answer is tried again for ever.
func (l *loop) enter(first bool) step {
	pause := retry.NewBackoff(maxPause)
	var taken time.Time // when the node id was first found taken
	for {
		r := l.record()
		ctx, cancel := context.WithTimeout(l.ctx, callTimeout)
		m, err := l.store.Join(ctx, r)
		cancel()
		if err == nil {
			l.presence.joined(m, r)
			l.turn()
			l.log.Info("joined")
			return nil
		}
		var holder *driver.TakenError
		switch {
		case first && errors.As(err, &holder):
			if why := l.conflict(holder, &taken); why != nil {
				return l.giveUp(why)
			}
			pause.Reset()
		case first && errors.Is(err, driver.ErrExclusive):
			if why := l.ownConflict(err, &taken); why != nil {
				return l.giveUp(why)
			}
		default:
			l.log.Warn("not joined, retrying", zap.Error(err))
		}
		if next := l.pause(pause.Next()); next != nil {
			return next
		}
	}
}

// conflict decides what a found record of this node id means: a live process, for
// which this one makes way, or a dead one, whose record lapses with its lease.
func (l *loop) conflict(found *driver.TakenError, since *time.Time) error {
	if found.Holder.Instance == l.instance {
		return nil // this process's own: the answer to an earlier try was lost
	}
	if since.IsZero() {
		*since = time.Now()
		if l.cfg.StillAlive(l.ctx, found.Holder) {
			return fmt.Errorf("%w: it still answers", found)
		}
		l.log.Warn("this node id has a record of another process, waiting for it to lapse",
			zap.String("uri", found.Holder.URI), zap.Time("started", found.Holder.Started))
	}
	if time.Since(*since) > l.store.TTL()+takenGrace {
		return fmt.Errorf("%w: its record did not lapse", found)
	}
	return nil
}

// rejoin starts over with a new lease after the old one, or the term, was lost.
// The old lease is seen to be gone first, with all that hangs on it.
func (l *loop) rejoin() step {
	l.demote()
	if l.presence.lease != nil {
		l.log.Warn("lease is lost, joining again", zap.Error(l.presence.lease.Cause()))
		l.makeRoom(l.presence.lease.Cause())
		l.presence.lose()
	}
	for pause := retry.NewBackoff(maxPause); l.presence.former != nil; {
		err := l.presence.leaveFormer(l.ctx)
		if err == nil {
			break
		}
		l.log.Warn("old lease not revoked, retrying", zap.Error(err))
		if next := l.pause(pause.Next()); next != nil {
			return next
		}
	}
	switch {
	case l.presence.exclusive:
		return l.failed
	case l.mode == modes.Disabled:
		return l.leavePlane
	}
	if next := l.enter(false); next != nil {
		return next
	}
	// It may have been disabled while it joined: then it settles.
	if l.state == modes.StateFailed && l.mode != modes.Disabled {
		return l.failed
	}
	return l.settle
}

// settle brings the node to the resting state of its mode: out of the election
// first, then the mirror complete or dropped, then the state.
func (l *loop) settle() step {
	if l.mode == modes.Disabled {
		return l.leavePlane
	}
	if next := l.withdraw(); next != nil {
		return next
	}
	if next := l.identify(); next != nil {
		return next
	}
	rest := l.rest()
	if !rest.Hot() {
		l.becomeResting(rest, now(), l.why())
		return l.settled()
	}
	l.startReplica()
	if !l.state.Hot() || l.replica.View() == nil {
		l.become(modes.StateInitializing, now(), "loading state")
	}
	for l.replica.View() == nil {
		if err := l.replica.Refused(); err != nil {
			return l.failWith(err, "state cannot be loaded")
		}
		if _, next := l.await(l.replica.Loaded()); next != nil {
			return next
		}
	}
	l.becomeResting(rest, now(), l.why())
	return l.settled()
}

// why is the reason that is told for settling.
func (l *loop) why() string {
	if l.orders.pending != nil {
		return "mode changed to " + l.mode.String()
	}
	return "mode is " + l.mode.String()
}

// settled ends settle: the record says where the node is, and the change of mode that
// led here is answered, unless its outcome is for the election to decide.
func (l *loop) settled() step {
	l.publish()
	if next := l.review(); next != nil {
		return next
	}
	return l.standBy
}

// vacant reports whether a term that this node gave up still has no successor: nobody has
// been elected, or this node has been and does not know yet. In a pause nobody will be.
func (l *loop) vacant() bool {
	p := l.cache.current()
	return l.gaveUp != 0 && l.mode.Promotable() && p.Pause == nil &&
		(p.Holder.Term <= l.gaveUp || p.Holder.Node == l.cfg.ID)
}

// failed stays up to say why the node can do nothing.
func (l *loop) failed() step {
	for {
		if next := l.review(); next != nil {
			return next
		}
		if _, next := l.await(nil); next != nil {
			return next
		}
	}
}

// joinExclusive begins the life of a disabled node, which has the plane to itself or is
// not in it.
func (l *loop) joinExclusive() step {
	var taken time.Time // when this node's own key was first found there
	for pause := retry.NewBackoff(maxPause); ; {
		planeID, _ := l.cache.memory()
		ctx, cancel := context.WithTimeout(l.ctx, callTimeout)
		m, term, err := l.store.JoinExclusive(ctx, l.record(), planeID)
		cancel()
		var holder *driver.TakenError
		switch {
		case err == nil:
			l.presence.lease, l.presence.exclusive = m, true
			l.turn()
			l.log.Info("took the plane for this node alone")
			return l.promoteExclusive(term)
		case errors.As(err, &holder):
			if why := l.conflict(holder, &taken); why != nil {
				return l.giveUp(fmt.Errorf("mode disabled: %w", why))
			}
		case errors.Is(err, driver.ErrExclusive):
			if why := l.ownConflict(err, &taken); why != nil {
				return l.giveUp(fmt.Errorf("mode disabled: %w", why))
			}
		default:
			l.log.Warn("plane not taken, retrying", zap.Error(err))
		}
		if next := l.pause(pause.Next()); next != nil {
			return next
		}
	}
}

// ownConflict is conflict for a node that is kept out by what a disabled node, or a
// node before one, has left under this node's own id: it lapses if that is dead. err
// is the refusal if somebody else keeps the node out.
func (l *loop) ownConflict(err error, since *time.Time) error {
	p, readErr := l.node.Plane(l.ctx)
	switch {
	case readErr != nil:
		return nil // look again
	case p.Exclusive != nil && p.Exclusive.Node == l.cfg.ID:
		return l.conflict(&driver.TakenError{Holder: driver.Record{ID: l.cfg.ID, URI: p.Exclusive.URI}}, since)
	case p.Exclusive == nil && len(p.Members) == 1 && p.Members[0].ID == l.cfg.ID:
		return l.conflict(&driver.TakenError{Holder: p.Members[0].Record}, since)
	default:
		return err
	}
}

// leavePlane takes a node out of the plane that was asked to be disabled while it ran.
func (l *loop) leavePlane() step {
	if next := l.withdraw(); next != nil {
		return next
	}
	was := l.state
	if l.orders.pending != nil {
		was = l.orders.pending.previousState
	}
	l.lastError = "disabled by its operator: give it another mode to bring it back"
	l.becomeFailed("disabled")
	if err := l.presence.leave(l.ctx, l.farewell(was), l.log); err != nil {
		l.presence.lose()
	} else {
		l.presence.end()
	}
	return l.failed
}

// farewell is the departure that this node records when it leaves.
func (l *loop) farewell(was modes.State) *driver.Departed {
	at := now()
	r := l.recordAs(modes.StateTerminated, at)
	return &driver.Departed{Record: r, Was: was, At: at, How: driver.DepartureStopped}
}

// giveUp ends a node that can never start: Run returns why.
func (l *loop) giveUp(why error) step {
	l.fatal = why
	return l.leave
}

// leave is a clean stop: it gives up what the node holds, and leaves the plane. loop.go
// tells how long it may take.
func (l *loop) leave() step {
	l.stop = nil
	l.show()
	l.answer(ErrStopped)
	was, keepLease := l.state, false
	if l.leadership != nil {
		keepLease = l.resignToStop()
	}
	if l.candidacy != nil {
		l.candidacy.cancel()
	}
	// Where the store stops with this process, the next one to open it, from this data
	// directory, ends the lease.
	if !keepLease {
		l.leaveForGood(was)
	}
	if l.candidacy != nil {
		<-l.candidacy.done // its lease is gone, so it is over as well
	}
	l.dropReplica()
	if l.program.running() {
		l.log.Error("program does not heed its context, leaving it behind")
	}
	l.become(modes.StateTerminated, now(), "stopped")
	l.presence.lease = nil
	l.show()
	return nil
}

// leaveForGood deletes what the node has in the store. Of a node that was in the plane a
// departure stays. It blocks for callTimeout at most for each of two leases.
func (l *loop) leaveForGood(was modes.State) {
	if l.presence.former != nil {
		if err := l.presence.leaveFormer(l.ctx); err != nil {
			l.log.Warn("lease not revoked, leaving it to lapse", zap.Error(err))
		}
	}
	var last *driver.Departed
	if l.fatal == nil && !l.presence.exclusive {
		last = l.farewell(was)
	}
	_ = l.presence.leave(l.ctx, last, l.log) // said by leave
}
