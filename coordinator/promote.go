package coordinator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/policy"
	"github.com/coordinator-ha/coordinator/internal/replica"
	"github.com/coordinator-ha/coordinator/internal/retry"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// reign is a term that this node holds, from its election to its end.
type reign struct {
	driver.Term
	entry     driver.HistoryEntry
	vacated   time.Time // when the old master's key was seen to go; zero if it was not
	persister *replica.Persister
	announced chan struct{} // closed once this node is MASTER
	retired   chan struct{} // closed once it is not, or will not be
	next      string        // who would lead if the term ended
}

// Leader is mastership as a program sees it.
type Leader struct {
	reign  *reign
	mirror *replica.Mirror
}

// Term returns the number of the term, the fencing token: it is higher than that
// of every earlier term. Pass it to systems outside the store and let them
// refuse older ones.
func (l *Leader) Term() int64 { return l.reign.Number() }

// View returns the state as it is now.
func (l *Leader) View() *rebind.View { return l.mirror.View() }

// Commit stores d, all of it or nothing, and returns when the store has it and View shows
// it. If d was stored before under its [rebind.Delta.ID], Commit writes nothing and returns
// the first result, as long as a memento that d put still carries the id.
//
// It returns a [rebind.ErrInvalid] for a delta that can never be stored, a
// [rebind.ErrConflict] if an expectation is not met, and a [rebind.ErrUnavailable] if the
// store cannot be reached. Once the term is over it returns an [ErrNotMaster]. In all these
// cases nothing was written. After [rebind.ErrUnknown], which is also returned if ctx ends
// while d is under way, read before writing again.
//
// While this node announces itself d goes out, and Commit returns when that is done, or
// the term or ctx ends: whoever hears that d is stored can see who is master.
func (l *Leader) Commit(ctx context.Context, d rebind.Delta) (rebind.Receipt, error) {
	receipt, err := l.reign.persister.Commit(ctx, d)
	switch {
	case errors.Is(err, driver.ErrClosed), errors.Is(err, driver.ErrFenced):
		return receipt, fmt.Errorf("%w: %w", ErrNotMaster, err)
	case err != nil:
		return receipt, err
	}
	select {
	case <-l.reign.announced:
	case <-l.reign.retired:
	case <-l.reign.Context().Done():
	case <-ctx.Done():
	}
	return receipt, nil
}

// announced returns the mastership that this node has announced, or nil.
func (n *Node) announced() *Leader {
	l := n.leading.Load()
	if l == nil {
		return nil
	}
	select {
	case <-l.reign.announced:
		return l
	default:
		return nil
	}
}

// promote makes the winner of an election the master:
//
//  1. delete all state, if the node was started to
//  2. have all state in memory, as it was when the term began or later
//  3. take writes, which are not answered before the fifth
//  4. announce: record and history, in one fenced transaction
//  5. be MASTER
//  6. call the program
//
// A term that ends on the way sends the node back to where it stood. State that
// cannot be used makes it FAILED, after it has given the term up for the next
// candidate to try.
func (l *loop) promote(c *candidacy) step {
	l.cache.setPlaneID(c.term.PlaneID())
	l.reign = &reign{Term: c.term, announced: make(chan struct{}), retired: make(chan struct{})}
	l.reign.entry, l.reign.vacated = l.origin(c)
	began := time.Now()
	entry := &l.reign.entry
	l.log.Info("elected", zap.Int64("term", entry.Term), zap.String("from", entry.From), zap.String("why", string(entry.Reason)))
	if !l.state.Hot() {
		l.become(modes.StateInitializing, now(), "elected")
	}
	if l.clean && !c.chosen {
		return l.decline // it was handed a term, by somebody who leads a living plane
	}
	from, next := l.clear()
	if next != nil {
		return next
	}
	l.follow()
	loaded, stop := l.reached(from)
	defer stop()
	for ready := false; !ready; {
		if ready, next = l.await(loaded); next != nil {
			return next
		}
	}
	if err := l.mirror.Refused(); err != nil {
		return l.failWith(err, "state cannot be loaded")
	}
	view := l.mirror.View()
	if view == nil || view.Revision() < from {
		return l.quit(fmt.Errorf("state has not arrived for %s", driver.StallLimit(l.store.TTL())))
	}
	entry.RebindMS = time.Since(began).Milliseconds()
	entry.Mementos = view.Len()

	l.reign.persister = replica.NewPersister(l.reign.Context(), l.reign, l.mirror.Mirror, l.cfg.MaxPayload)
	l.node.leading.Store(&Leader{reign: l.reign, mirror: l.mirror.Mirror})
	if next := l.announce(); next != nil {
		return next
	}
	l.startProgram()
	if l.pending != nil {
		l.answer(nil)
	}
	return l.lead
}

// decline gives up a term that this node must not take, and ends the node.
func (l *loop) decline() step {
	why := fmt.Errorf("%w: all state is to be deleted and node %s has handed its term over", driver.ErrRefused, l.offer.From)
	if err := l.abdicate(l.ctx, l.rest(), driver.ReasonFailover, "declined"); err != nil {
		l.log.Warn("term not given up, dropping the lease", zap.Error(err))
	}
	return l.giveUp(why)
}

// clear deletes all state if the node was started to, and returns the revision
// that state must have come to before the node leads.
func (l *loop) clear() (rebind.Revision, step) {
	began := time.Now()
	for pause := retry.NewPause(maxPause); l.clean; {
		ctx, cancel := context.WithTimeout(l.reign.Context(), callTimeout)
		at, err := l.reign.Clear(ctx)
		cancel()
		if err == nil {
			l.log.Warn("all mementos deleted, as this node was started to do", zap.Int64("rev", int64(at)))
			l.clean = false
			return at, nil
		}
		if l.hopeless(began, err) {
			return 0, l.quit(fmt.Errorf("mementos not deleted: %w", err))
		}
		l.log.Warn("mementos not deleted, retrying", zap.Error(err))
		if next := l.pause(pause.Next()); next != nil {
			return 0, next
		}
	}
	return l.reign.Revision(), nil
}

// reached returns a channel that is closed when the mirror has come to the
// revision to, is refused, or stands still, and a func that ends the waiting.
func (l *loop) reached(to rebind.Revision) (<-chan struct{}, context.CancelFunc) {
	ctx, cancel := context.WithCancel(l.reign.Context())
	done := make(chan struct{})
	mirror, limit := l.mirror.Mirror, driver.StallLimit(l.store.TTL())
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

// hopeless tells, of tries that began at some moment and have failed since, whether they
// have for so long that this node is in the way of others.
func (l *loop) hopeless(began time.Time, err error) bool {
	return time.Since(began) >= driver.StallLimit(l.store.TTL()) && !driver.NobodyCan(err)
}

// quit gives up a term in which this node comes no further, for the next candidate to
// try. Whoever ordered it to lead is told.
func (l *loop) quit(why error) step {
	why = fmt.Errorf("%w in term %d: %w", driver.ErrStuck, l.reign.Number(), why)
	l.heed(why)
	ordered := l.pending != nil && l.pending.order
	if ordered {
		l.mode = l.pending.previousMode
	}
	err := l.abdicate(l.ctx, l.rest(), driver.ReasonFailover, why.Error())
	if err != nil {
		l.log.Warn("term not given up, dropping the lease", zap.Error(err))
		l.dethrone()
	}
	if ordered {
		if next := l.refuse(fmt.Errorf("%w: %w", driver.ErrRefused, why)); next != nil {
			return next
		}
	}
	if err != nil {
		return l.rejoin
	}
	return l.settle
}

// origin tells whose term this one follows and why, and when that one's key was
// seen to go.
func (l *loop) origin(c *candidacy) (e driver.HistoryEntry, vacated time.Time) {
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
	return e, c.vacated
}

// announce commits what makes the node master and then says so. It tries again for as
// long as the term lasts, and for [driver.StallLimit] at most.
func (l *loop) announce() step {
	entry, began := l.reign.entry, time.Now()
	var announced driver.Record
	for pause := retry.NewPause(maxPause); ; {
		entry.Since = now()
		announced = l.recordAs(modes.StateMaster, entry.Since)
		if !l.reign.vacated.IsZero() {
			gap := time.Since(l.reign.vacated).Milliseconds()
			entry.GapMS = &gap
		}
		ctx, cancel := context.WithTimeout(l.reign.Context(), callTimeout)
		err := l.reign.Announce(ctx, announced, entry)
		cancel()
		if err == nil {
			break
		}
		if l.hopeless(began, err) {
			return l.quit(fmt.Errorf("mastership not announced: %w", err))
		}
		l.log.Warn("mastership not announced, retrying", zap.Error(err))
		if next := l.pause(pause.Next()); next != nil {
			return next
		}
	}
	l.readyFor, l.gaveUp, l.gaveUpFor, l.lastError = "", 0, "", ""
	l.become(modes.StateMaster, entry.Since, string(entry.Reason))
	l.hasPublished(announced) // what has changed since is published next
	close(l.reign.announced)
	return nil
}

// lead is mastership: the loop only watches over it.
func (l *loop) lead() step {
	for {
		if p, ok := l.cache.currentWhole(); ok {
			if next, _ := policy.Next(p); next != l.cfg.ID { // as it may be before this node is seen to lead
				l.reign.next = next
			}
		}
		var failed <-chan struct{}
		if l.program != nil {
			if l.program.stopped && !l.programRuns() {
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
		l.bury()
	}
}
