package coordinator

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/policy"
	"github.com/coordinator-ha/coordinator/internal/retry"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file holds how a node comes to lead, and its step while it does. All of it belongs
// to the loop.

// promote makes the winner of an election the master:
//
//  1. delete all state, if the node was started to
//  2. have all state in memory, as it was when the term began or later
//  3. take writes, which are not answered before the fifth
//  4. announce: record and history, in one fenced transaction, where nodes share the plane
//  5. be MASTER
//  6. call the program
//
// If the term ends on the way, the node goes back to its resting state. State that
// cannot be used makes it FAILED, after it has given the term up for the next
// candidate to try.
func (l *loop) promote(c *candidate) step {
	t := newLeadership(c.term)
	t.entry, t.prevEnded = l.origin(c)
	l.beginTerm(t)
	if l.clean && !c.chosen {
		// It was handed a term, by a node that leads a living plane.
		why := fmt.Errorf("%w: all state is to be deleted and node %s has handed its term over", driver.ErrRefused, l.offer.From)
		_ = l.resignOrDrop(l.ctx, l.rest(), driver.ReasonFailover, "declined")
		return l.giveUp(why)
	}
	return l.complete()
}

// promoteExclusive makes a disabled node the master of the plane that it has to itself.
func (l *loop) promoteExclusive(term driver.ExclusiveTerm) step {
	t := newExclusiveLeadership(term)
	t.entry = driver.HistoryEntry{Term: term.Number(), Node: l.cfg.ID, Reason: driver.ReasonStart}
	l.beginTerm(t)
	return l.complete()
}

// beginTerm has the node hold the term t.
func (l *loop) beginTerm(t *leadership) {
	l.cache.setPlaneID(t.PlaneID())
	l.leadership, t.began = t, time.Now()
	l.log.Info("elected", zap.Int64("term", t.entry.Term), zap.String("from", t.entry.From), zap.String("why", string(t.entry.Reason)))
	if !l.state.Hot() {
		l.become(modes.StateInitializing, now(), "elected")
	}
}

// complete takes a promotion from its first step to its last.
func (l *loop) complete() step {
	from, next := l.clear()
	if next != nil {
		return next
	}
	l.startReplica()
	loaded, stop := l.replicaAt(from)
	defer stop()
	for ready := false; !ready; {
		if ready, next = l.await(loaded); next != nil {
			return next
		}
	}
	if err := l.replica.Refused(); err != nil {
		return l.failWith(err, "state cannot be loaded")
	}
	view := l.replica.View()
	if view == nil || view.Revision() < from {
		return l.resignStuck(fmt.Errorf("state has not arrived for %s", driver.StallLimit(l.store.TTL())))
	}
	entry := &l.leadership.entry
	entry.RebindMS = time.Since(l.leadership.began).Milliseconds()
	entry.Mementos = view.Len()

	l.node.leading.Store(l.leadership.begin(l.replica.Mirror, l.cfg.MaxPayload))
	if l.leadership.shared == nil {
		l.becomeMaster(l.recordAs(modes.StateMaster, now()), entry.Reason) // there is nobody to tell
	} else if next := l.announce(); next != nil {
		return next
	}
	l.startProgram()
	return l.lead
}

// clear deletes all state if the node was started to, and returns the revision
// that state must have come to before the node leads.
func (l *loop) clear() (rebind.Revision, step) {
	began := time.Now()
	for pause := retry.NewBackoff(maxPause); l.clean; {
		ctx, cancel := context.WithTimeout(l.leadership.Context(), callTimeout)
		at, err := l.leadership.Clear(ctx)
		cancel()
		if err == nil {
			l.log.Warn("all mementos deleted, as this node was started to do", zap.Int64("rev", int64(at)))
			l.clean = false
			return at, nil
		}
		if l.stalled(began, err) {
			return 0, l.resignStuck(fmt.Errorf("mementos not deleted: %w", err))
		}
		l.log.Warn("mementos not deleted, retrying", zap.Error(err))
		if next := l.pause(pause.Next()); next != nil {
			return 0, next
		}
	}
	return l.leadership.Revision(), nil
}

// origin tells whose term this one follows and why, and when that one's key was
// seen to go.
func (l *loop) origin(c *candidate) (e driver.HistoryEntry, prevEnded time.Time) {
	e = driver.HistoryEntry{Term: c.term.Number(), Node: l.cfg.ID, Reason: driver.ReasonStart}
	if !c.chosen {
		e.From, e.Reason = l.offer.From, driver.ReasonHandover
		return e, time.Now()
	}
	e.From = c.seen.Holder.Node
	if !c.here {
		return e, time.Time{} // it may have ended before
	}
	e.Reason = driver.ReasonFailover
	for _, m := range c.seen.Members {
		if policy.GaveUp(c.vacancy, m) {
			e.Reason = m.GaveUpFor
		}
	}
	return e, c.prevEnded
}

// announce commits the record and the history entry that make the node master. It tries
// again for as long as the term lasts, and for [driver.StallLimit] at most.
func (l *loop) announce() step {
	entry, began := l.leadership.entry, time.Now()
	var announced driver.Record
	for pause := retry.NewBackoff(maxPause); ; {
		entry.Since = now()
		announced = l.recordAs(modes.StateMaster, entry.Since)
		if !l.leadership.prevEnded.IsZero() {
			gap := time.Since(l.leadership.prevEnded).Milliseconds()
			entry.GapMS = &gap
		}
		ctx, cancel := context.WithTimeout(l.leadership.Context(), callTimeout)
		err := l.leadership.shared.Announce(ctx, announced, entry)
		cancel()
		if err == nil {
			break
		}
		if l.stalled(began, err) {
			return l.resignStuck(fmt.Errorf("mastership not announced: %w", err))
		}
		l.log.Warn("mastership not announced, retrying", zap.Error(err))
		if next := l.pause(pause.Next()); next != nil {
			return next
		}
	}
	l.becomeMaster(announced, entry.Reason)
	return nil
}

// lead is the step of a master. Writes and the program do not need the loop: it names the
// successor, notices a program that fails, and records departures.
func (l *loop) lead() step {
	for {
		if next := l.review(); next != nil {
			return next
		}
		if p, ok := l.cache.currentWhole(); ok {
			if next, _ := policy.Next(p); next != l.cfg.ID { // as it may be before this node is seen to lead
				l.leadership.next = next
			}
		}
		var failed <-chan struct{}
		if l.program != nil {
			if l.program.stopped && !l.program.running() {
				l.startProgram() // the handover it was stopped for was undone
			}
			failed = l.program.failed
		}
		ready, next := l.await(failed)
		if next != nil {
			return next
		}
		if ready {
			return l.failWith(l.program.err, "program failed")
		}
		if next := l.identify(); next != nil {
			return next
		}
		l.recordDepartures()
	}
}

// replicaAt returns a channel that is closed when the replica has come to the revision
// to, is refused, or stands still for [driver.StallLimit], and a func that ends the
// waiting.
func (l *loop) replicaAt(to rebind.Revision) (<-chan struct{}, context.CancelFunc) {
	ctx, cancel := context.WithCancel(l.leadership.Context())
	done := make(chan struct{})
	mirror, limit := l.replica.Mirror, driver.StallLimit(l.store.TTL())
	l.group.Go(func() {
		for moved := true; moved; {
			revision, progress := mirror.Revision(), mirror.Progress()
			wait, stop := context.WithTimeout(ctx, limit)
			err := mirror.CatchUp(wait, to)
			stop()
			if ctx.Err() != nil {
				return
			}
			moved = err != nil && mirror.Refused() == nil &&
				(mirror.Revision() != revision || mirror.Progress() != progress)
		}
		close(done)
	})
	return done, cancel
}

// stalled tells, of attempts that began at some moment and have failed since, whether
// they have for so long that this node is in the way of others.
func (l *loop) stalled(began time.Time, err error) bool {
	return time.Since(began) >= driver.StallLimit(l.store.TTL()) && !policy.NobodyCan(err)
}

// recordDepartures records the departure of nodes that vanished. Each takes callTimeout
// at most, and the first that fails ends it; a later round tries again.
func (l *loop) recordDepartures() {
	if l.state != modes.StateMaster || l.leadership.shared == nil {
		return
	}
	for _, m := range l.cache.vanished() {
		if m.ID != l.cfg.ID && !l.leadership.recordLost(m, l.log) {
			return
		}
		l.cache.departed(m.ID)
	}
}
