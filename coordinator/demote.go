package coordinator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file holds how a term of this node ends. All of it belongs to the loop. There are
// four ways, each with a word of its own:
//
//   - demote: the term is lost, or must be taken to be
//   - resign: the node gives the term up by its own will, with nobody chosen to follow
//   - transfer: the term is given to another node (handover.go)
//   - leavePlane, for a node that is to be disabled: it resigns first (life.go)
//
// All of them end in endLeadership.

const (
	// stepBudget limits what a master does before it gives up its term by its own
	// will: it ends the program and settles what is under way.
	stepBudget = 5 * time.Second
	// stopBudget is the same for a master that stops, together with its search for
	// a successor.
	stopBudget = 4 * time.Second
)

// Causes with which a program's context ends while the term still lasts.
var (
	errSteppingDown = fmt.Errorf("%w: stepping down", driver.ErrTermOver)
	errHandingOver  = fmt.Errorf("%w: handing over", driver.ErrTermOver)
)

// demote ends a term that is lost, or must be taken to be. From here on the node refuses
// writes and does not claim to lead; what is under way settles in the background, where
// the fence decides. It returns at once.
func (l *loop) demote() {
	t := l.leadership
	if t == nil {
		return
	}
	cause := context.Cause(t.Context())
	if cause == nil {
		cause = l.presence.lease.Cause()
	}
	if cause == nil {
		cause = errSteppingDown // the node could not resign
	}
	l.log.Warn("term is over", zap.Int64("term", t.Number()), zap.Error(cause))
	if l.rest() == modes.StateFailed {
		l.lastError = fmt.Sprintf("%v: start this node again", cause)
	}
	l.endLeadership(l.rest(), now(), fmt.Sprint(cause))
}

// endLeadership sets all that goes with the end of a term: nobody can write any more or
// wait for the announcement, the program's context ends, and a MASTER settles in the state
// to. A node that was still on its way to MASTER keeps its state unless it fails. It
// returns at once.
func (l *loop) endLeadership(to modes.State, at time.Time, reason string) {
	t := l.leadership
	l.forgetTerm()
	l.program.cancelFor(errSteppingDown)
	if t.persister != nil {
		l.group.Go(func() { _ = t.persister.Close(l.ctx) })
	}
	if l.changesAtEnd(to) {
		l.becomeResting(to, at, reason)
	}
}

// changesAtEnd reports whether the end of its term moves the node to the state to.
func (l *loop) changesAtEnd(to modes.State) bool {
	return l.state == modes.StateMaster || to == modes.StateFailed
}

// forgetTerm drops the term, and whoever waits for its announcement goes on.
func (l *loop) forgetTerm() {
	l.node.leading.Store(nil)
	close(l.leadership.over)
	l.leadership = nil
}

// suppressLeader has the node not claim to lead while its term may already be over, or
// ends that. The loop has waited for its program and for writes, and come this far, so
// this is a turn of it.
func (l *loop) suppressLeader(suppressed bool) {
	l.leadership.suppressed = suppressed
	l.turn()
	l.show()
}

// resign gives the term up by this node's own will:
//
//  1. end the program and wait for it
//  2. take no more writes and settle those under way
//  3. delete the election key and publish the new record, in one fenced transaction
//  4. leave the state MASTER
//
// The first two take stepBudget at most, less if ctx or the term ends, and the third
// callTimeout. If that fails, resign returns an error and the node still has the term:
// the caller drops the lease.
func (l *loop) resign(ctx context.Context, to modes.State, why driver.Reason, reason string) error {
	t := l.leadership
	settle, cancel := context.WithTimeout(t.Context(), stepBudget)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	if err := l.program.end(settle, errSteppingDown); err != nil {
		l.log.Error("program does not heed its context, giving up the term all the same", zap.Error(err))
	}
	if t.persister != nil {
		if err := t.hold(settle); err != nil {
			l.log.Warn("writes under way not settled", zap.Error(err))
		} else {
			l.log.Debug("writes are taken no more", zap.Int64("term", t.Number()))
		}
	}
	at := now()
	l.gaveUp, l.gaveUpFor = t.Number(), why
	record := l.record()
	if l.changesAtEnd(to) {
		record = l.recordAs(to, at)
	}
	last, cancelLast := context.WithTimeout(l.ctx, callTimeout)
	defer cancelLast()
	l.suppressLeader(true)
	if err := t.giveUp(last, record); err != nil {
		return fmt.Errorf("give up term %d: %w", t.Number(), err)
	}
	l.log.Info("term given up", zap.Int64("term", t.Number()), zap.String("why", string(why)))
	l.endLeadership(to, at, reason)
	l.presence.stored(record)
	return nil
}

// resignOrDrop is resign, and says that the lease has to go if that fails.
func (l *loop) resignOrDrop(ctx context.Context, to modes.State, why driver.Reason, reason string) error {
	err := l.resign(ctx, to, why, reason)
	if err != nil {
		l.log.Warn("term not given up, dropping the lease", zap.Error(err))
	}
	return err
}

// resignForMode gives the term up because the mode says so. A store that has no room for
// that has none for another node's term either: the mode is then as it was before, and a
// MASTER goes on.
func (l *loop) resignForMode() step {
	err := l.resign(l.ctx, l.rest(), driver.ReasonDemotion, "mode changed to "+l.mode.String())
	switch {
	case err == nil:
		return l.settle
	case !errors.Is(err, driver.ErrStoreFull):
		l.log.Warn("stepping down by dropping the lease", zap.Error(err))
		return l.rejoin
	}
	l.gaveUp, l.gaveUpFor = 0, ""
	l.suppressLeader(false)
	if next := l.refuse(fmt.Errorf("the mode is as it was: %w", err)); next != nil {
		return next
	}
	if l.state != modes.StateMaster {
		return l.rejoin // on its way to MASTER, it has nothing to go on with
	}
	l.leadership.persister.Resume()
	return l.lead
}

// resignStuck gives up a term in which this node comes no further, so that the next
// candidate can try. An order to lead is refused with the reason.
func (l *loop) resignStuck(why error) step {
	why = fmt.Errorf("%w in term %d: %w", driver.ErrStuck, l.leadership.Number(), why)
	l.makeRoom(why)
	ordered := l.orders.ordered()
	if ordered {
		l.mode = l.orders.pending.previousMode
	}
	err := l.resignOrDrop(l.ctx, l.rest(), driver.ReasonFailover, why.Error())
	if err != nil {
		l.demote()
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

// failWith makes the node FAILED. It gives a term up first, so that another node can try.
func (l *loop) failWith(err error, reason string) step {
	l.lastError = err.Error()
	l.log.Error("node failed", zap.String("reason", reason), zap.Error(err))
	l.failOrder(err)
	if l.leadership == nil {
		if next := l.withdraw(); next != nil {
			return next
		}
		l.becomeFailed(reason)
		return l.failed
	}
	if err := l.resign(l.ctx, modes.StateFailed, driver.ReasonFailover, reason); err != nil {
		l.endLeadership(modes.StateFailed, now(), reason)
		l.log.Warn("failing by dropping the lease", zap.Error(err))
		if next := l.review(); next != nil {
			return next
		}
		return l.rejoin
	}
	return l.failed
}

// resignToStop ends the term of a node that stops: it transfers the term to the best
// candidate if there is one, and resigns otherwise, within stopBudget and callTimeout. It
// reports whether the lease is to be left as it is, because the store stops with this node.
func (l *loop) resignToStop() (keepLease bool) {
	ctx, cancel := context.WithTimeout(l.ctx, stopBudget)
	defer cancel()
	if l.leadership.exclusive != nil {
		l.resignExclusive(ctx)
		return false
	}
	if l.cfg.OwnsStore {
		_ = l.program.end(ctx, errSteppingDown)
		_ = l.leadership.hold(ctx)
		l.log.Warn("store stops with this node, mastership is not handed over",
			zap.Int("nodes_without_store", len(l.node.CachedPlane().Members)-1))
		l.endLeadership(l.rest(), now(), "stopping")
		return true
	}
	var err error
	if l.state == modes.StateMaster {
		if err = l.transferToBest(ctx); err == nil {
			return false
		}
	}
	if !errors.Is(err, rebind.ErrUnavailable) && !errors.Is(err, rebind.ErrUnknown) {
		l.log.Info("not handed over, giving the term up", zap.Error(err))
		err = l.resign(ctx, l.rest(), driver.ReasonHandover, "stopping")
	}
	if err != nil {
		l.log.Warn("term not given up, dropping the lease", zap.Error(err))
		l.endLeadership(l.rest(), now(), "stopping")
	}
	return false
}

// resignExclusive ends the term of a disabled node, which has nobody to tell and no
// other state to settle in.
func (l *loop) resignExclusive(ctx context.Context) {
	t := l.leadership
	_ = l.program.end(ctx, errSteppingDown)
	_ = t.hold(ctx)
	if t.persister != nil {
		l.group.Go(func() { _ = t.persister.Close(l.ctx) })
	}
	last, cancel := context.WithTimeout(l.ctx, callTimeout)
	defer cancel()
	l.suppressLeader(true)
	if err := t.exclusive.Resign(last); err != nil {
		l.log.Warn("term not given up, dropping the lease", zap.Error(err))
	}
	l.forgetTerm()
}
