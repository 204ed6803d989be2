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

const (
	// stepBudget bounds what a master does before it gives up its term by its own
	// will: ending the program and settling what is under way.
	stepBudget = 5 * time.Second
	// heirBudget is the same for a master that stops, together with its search for
	// a successor.
	heirBudget = 4 * time.Second
)

// Causes with which a program's context ends while the term still lasts.
var (
	errSteppingDown = fmt.Errorf("%w: stepping down", driver.ErrTermOver)
	errHandingOver  = fmt.Errorf("%w: handing over", driver.ErrTermOver)
)

// dethrone ends this node's part in a term that is over or must be taken to be
// over. From here on it refuses writes and claims nothing; what is under way
// settles in the background, where the fence judges it.
func (l *loop) dethrone() {
	r := l.reign
	if r == nil {
		return
	}
	cause := context.Cause(r.Context())
	if cause == nil {
		cause = l.membership.Cause()
	}
	if cause == nil {
		cause = errSteppingDown // it could not be given up in due form
	}
	l.log.Warn("term is over", zap.Int64("term", r.Number()), zap.Error(cause))
	if l.rest() == modes.StateFailed {
		l.lastError = fmt.Sprintf("%v: start this node again", cause)
	}
	l.retire(l.rest(), now(), fmt.Sprint(cause))
}

// retire leaves the state of a master, or that of one about to be, and forgets
// the term.
func (l *loop) retire(to modes.State, at time.Time, reason string) {
	r := l.reign
	l.forget()
	if l.program != nil {
		l.program.cancel(errSteppingDown)
	}
	if r.persister != nil {
		l.group.Go(func() { _ = r.persister.Close(l.ctx) })
	}
	if !l.leaves(to) {
		return
	}
	l.become(to, at, reason)
	if !l.state.Hot() {
		l.drop()
	}
}

// leaves reports whether the end of its term changes the node's state: one that
// never came to be master settles as it would have without.
func (l *loop) leaves(to modes.State) bool {
	return l.state == modes.StateMaster || to == modes.StateFailed
}

// abdicate gives the term up by this node's own will:
//
//  1. end the program and wait for it
//  2. take no more writes and settle those under way
//  3. delete the election key and publish the new record, in one fenced transaction
//  4. leave the state MASTER
//
// If the third does not succeed the lease has to go: the caller rejoins. ctx bounds
// the first two, which a term that ends meanwhile cuts short.
func (l *loop) abdicate(ctx context.Context, to modes.State, why driver.Reason, reason string) error {
	r := l.reign
	settle, cancel := context.WithTimeout(r.Context(), stepBudget)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	if err := l.stopProgram(settle, errSteppingDown); err != nil {
		l.log.Error("program does not heed its context, giving up the term all the same", zap.Error(err))
	}
	if r.persister != nil {
		if err := r.persister.Hold(settle); err != nil {
			l.log.Warn("writes under way not settled", zap.Error(err))
		} else {
			l.log.Debug("writes are taken no more", zap.Int64("term", r.Number()))
		}
	}
	at := now()
	l.gaveUp, l.gaveUpFor = r.Number(), why
	record := l.record()
	if l.leaves(to) {
		record = l.recordAs(to, at)
	}
	last, cancelLast := context.WithTimeout(l.ctx, callTimeout)
	defer cancelLast()
	l.hush(true)
	if err := r.Resign(last, record); err != nil {
		return fmt.Errorf("give up term %d: %w", r.Number(), err)
	}
	l.log.Info("term given up", zap.Int64("term", r.Number()), zap.String("why", string(why)))
	l.retire(to, at, reason)
	l.hasPublished(record)
	return nil
}

// stepDown gives the term up because the mode says so, and goes where it says.
func (l *loop) stepDown() step {
	err := l.abdicate(l.ctx, l.rest(), driver.ReasonDemotion, "mode changed to "+l.mode.String())
	if errors.Is(err, driver.ErrStoreFull) {
		return l.leadOn(err)
	}
	if err != nil {
		l.log.Warn("stepping down by dropping the lease", zap.Error(err))
		return l.rejoin
	}
	return l.settle
}

// leadOn takes a change of mode back that the store has no room for: nobody could
// begin a term now, this node no more than another.
func (l *loop) leadOn(err error) step {
	l.gaveUp, l.gaveUpFor = 0, ""
	if l.pending != nil {
		l.mode = l.pending.previousMode
	}
	l.hush(false)
	l.answer(fmt.Errorf("the mode is as it was: %w", err))
	if l.state != modes.StateMaster {
		return l.rejoin // on its way to be master, it has nothing to go on with
	}
	l.reign.persister.Resume()
	return l.lead
}

// failWith makes the node FAILED and stays to say why. A term is given up first,
// so that another node can try.
func (l *loop) failWith(err error, reason string) step {
	l.lastError = err.Error()
	l.log.Error("node failed", zap.String("reason", reason), zap.Error(err))
	var refusal error
	if c := l.pending; c != nil && c.order { // it was to lead at once or not at all
		l.mode, refusal = c.previousMode, fmt.Errorf("%w: %w", driver.ErrRefused, err)
	}
	if l.reign == nil {
		if next := l.withdraw(); next != nil {
			return next
		}
		l.become(modes.StateFailed, now(), reason)
		l.drop()
		l.answer(refusal)
		return l.failed
	}
	if err := l.abdicate(l.ctx, modes.StateFailed, driver.ReasonFailover, reason); err != nil {
		l.retire(modes.StateFailed, now(), reason)
		l.log.Warn("failing by dropping the lease", zap.Error(err))
		l.answer(refusal)
		return l.rejoin
	}
	l.answer(refusal)
	return l.failed
}

// leave is a clean stop, all of it bounded: hand over, leave the plane, end.
func (l *loop) leave() step {
	l.stop = nil
	l.show()
	if l.pending != nil {
		l.answer(ErrStopped)
	}
	keepLease := false
	was := l.state
	if l.reign != nil {
		keepLease = l.succeed()
	}
	if l.candidacy != nil {
		l.candidacy.cancel()
	}
	for _, m := range []driver.Presence{l.former, l.membership} {
		if m == nil {
			continue
		}
		if keepLease {
			// The store stops with this process: the next one to open it, from
			// this data directory, ends the lease.
			break
		}
		var farewell *driver.Departed
		if m == l.membership && l.fatal == nil && !l.solo {
			farewell = l.farewell(was)
		}
		last, cancelLast := context.WithTimeout(l.ctx, callTimeout)
		if err := m.Leave(last, farewell); err != nil {
			l.log.Warn("lease not revoked, leaving it to lapse", zap.Error(err))
		}
		cancelLast()
	}
	if l.candidacy != nil {
		<-l.candidacy.done // its membership is over, so it is as well
	}
	l.drop()
	if l.programRuns() {
		l.log.Error("program does not heed its context, leaving it behind")
	}
	l.become(modes.StateTerminated, now(), "stopped")
	l.membership = nil
	l.show()
	return nil
}

// succeed passes the term on before a stop, to the best candidate if there is
// one. It reports whether the lease is to be left as it is.
func (l *loop) succeed() (keepLease bool) {
	r := l.reign
	ctx, cancel := context.WithTimeout(l.ctx, heirBudget)
	defer cancel()
	if l.solo {
		l.release(ctx)
		return false
	}
	if l.cfg.OwnsStore {
		_ = l.stopProgram(ctx, errSteppingDown)
		if r.persister != nil {
			_ = r.persister.Hold(ctx)
		}
		l.log.Warn("store stops with this node, mastership is not handed over",
			zap.Int("nodes_without_store", len(l.node.CachedPlane().Members)-1))
		l.retire(l.rest(), now(), "stopping")
		return true
	}
	var err error
	if l.state == modes.StateMaster {
		if err = l.bequeath(ctx); err == nil {
			return false
		}
	}
	if !errors.Is(err, rebind.ErrUnavailable) && !errors.Is(err, rebind.ErrUnknown) {
		l.log.Info("not handed over, giving the term up", zap.Error(err))
		err = l.abdicate(ctx, l.rest(), driver.ReasonHandover, "stopping")
	}
	if err != nil {
		l.log.Warn("term not given up, dropping the lease", zap.Error(err))
		l.retire(l.rest(), now(), "stopping")
	}
	return false
}

// release ends the mastership of a disabled node, which has nobody to tell and
// nothing else to become.
func (l *loop) release(ctx context.Context) {
	r := l.reign
	_ = l.stopProgram(ctx, errSteppingDown)
	if r.persister != nil {
		_ = r.persister.Hold(ctx)
		l.group.Go(func() { _ = r.persister.Close(l.ctx) })
	}
	last, cancel := context.WithTimeout(l.ctx, callTimeout)
	defer cancel()
	l.hush(true)
	if err := r.Resign(last, l.record()); err != nil {
		l.log.Warn("term not given up, dropping the lease", zap.Error(err))
	}
	l.forget()
}

// forget lets go of the term, and of whoever waits for it to be announced.
func (l *loop) forget() {
	l.node.leading.Store(nil)
	close(l.reign.retired)
	l.reign, l.quiet = nil, false
}
