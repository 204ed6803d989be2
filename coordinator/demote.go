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
func (n *Node) dethrone() {
	r := n.reign
	if r == nil {
		return
	}
	cause := context.Cause(r.Context())
	if cause == nil {
		cause = n.membership.Cause()
	}
	if cause == nil {
		cause = errSteppingDown // it could not be given up in due form
	}
	n.log.Warn("term is over", zap.Int64("term", r.Number()), zap.Error(cause))
	if n.rest() == modes.StateFailed {
		n.lastError = fmt.Sprintf("%v: start this node again", cause)
	}
	n.retire(modes.EventFor(n.rest()), now(), fmt.Sprint(cause))
}

// retire leaves the state of a master, or that of one about to be, and forgets
// the term.
func (n *Node) retire(event modes.Event, at time.Time, reason string) {
	r := n.reign
	n.forget()
	if n.program != nil {
		n.program.cancel(errSteppingDown)
	}
	if r.persister != nil {
		n.group.Go(func() { _ = r.persister.Close(n.ctx) })
	}
	if !n.leaves(event) {
		return
	}
	n.become(event, at, reason)
	if !n.state.Hot() {
		n.drop()
	}
}

// leaves reports whether the end of its term changes the node's state: one that
// never came to be master settles as it would have without.
func (n *Node) leaves(event modes.Event) bool {
	return n.state == modes.StateMaster || event == modes.EventFail
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
func (n *Node) abdicate(ctx context.Context, event modes.Event, why driver.Reason, reason string) error {
	r := n.reign
	settle, cancel := context.WithTimeout(r.Context(), stepBudget)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	if err := n.stopProgram(settle, errSteppingDown); err != nil {
		n.log.Error("program does not heed its context, giving up the term all the same", zap.Error(err))
	}
	if r.persister != nil {
		if err := r.persister.Hold(settle); err != nil {
			n.log.Warn("writes under way not settled", zap.Error(err))
		} else {
			n.log.Debug("writes are taken no more", zap.Int64("term", r.Number()))
		}
	}
	at := now()
	n.gaveUp, n.gaveUpFor = r.Number(), why
	record := n.record()
	if n.leaves(event) {
		state, err := modes.Next(n.state, event)
		if err != nil {
			return err
		}
		record = n.recordAs(state, at)
	}
	last, cancelLast := context.WithTimeout(n.ctx, callTimeout)
	defer cancelLast()
	n.hush(true)
	if err := r.Resign(last, record); err != nil {
		return fmt.Errorf("give up term %d: %w", r.Number(), err)
	}
	n.log.Info("term given up", zap.Int64("term", r.Number()), zap.String("why", string(why)))
	n.retire(event, at, reason)
	n.hasPublished(record)
	return nil
}

// stepDown gives the term up because the mode says so, and goes where it says.
func (n *Node) stepDown() step {
	err := n.abdicate(n.ctx, modes.EventFor(n.rest()), driver.ReasonDemotion, "mode changed to "+n.mode.String())
	if errors.Is(err, rebind.ErrStoreFull) {
		return n.leadOn(err)
	}
	if err != nil {
		n.log.Warn("stepping down by dropping the lease", zap.Error(err))
		return n.rejoin
	}
	return n.settle
}

// leadOn takes a change of mode back that the store has no room for: nobody could
// begin a term now, this node no more than another.
func (n *Node) leadOn(err error) step {
	n.gaveUp, n.gaveUpFor = 0, ""
	if n.pending != nil {
		n.mode = n.pending.previous.Mode
	}
	n.hush(false)
	n.answer(fmt.Errorf("the mode is as it was: %w", err))
	if n.state != modes.StateMaster {
		return n.rejoin // on its way to be master, it has nothing to go on with
	}
	n.reign.persister.Resume()
	return n.lead
}

// failWith makes the node FAILED and stays to say why. A term is given up first,
// so that another node can try.
func (n *Node) failWith(err error, reason string) step {
	n.lastError = err.Error()
	n.log.Error("node failed", zap.String("reason", reason), zap.Error(err))
	var refusal error
	if c := n.pending; c != nil && c.order { // it was to lead at once or not at all
		n.mode, refusal = c.previous.Mode, fmt.Errorf("%w: %w", driver.ErrRefused, err)
	}
	if n.reign == nil {
		if next := n.withdraw(); next != nil {
			return next
		}
		n.become(modes.EventFail, now(), reason)
		n.drop()
		n.answer(refusal)
		return n.failed
	}
	if err := n.abdicate(n.ctx, modes.EventFail, driver.ReasonFailover, reason); err != nil {
		n.retire(modes.EventFail, now(), reason)
		n.log.Warn("failing by dropping the lease", zap.Error(err))
		n.answer(refusal)
		return n.rejoin
	}
	n.answer(refusal)
	return n.failed
}

// leave is a clean stop, all of it bounded: hand over, leave the plane, end.
func (n *Node) leave() step {
	n.stop = nil
	n.show()
	if n.pending != nil {
		n.answer(ErrStopped)
	}
	keepLease := false
	was := n.state
	if n.reign != nil {
		keepLease = n.succeed()
	}
	if n.candidacy != nil {
		n.candidacy.cancel()
	}
	for _, m := range []driver.Presence{n.former, n.membership} {
		if m == nil {
			continue
		}
		if keepLease {
			// The store stops with this process: the next one to open it, from
			// this data directory, ends the lease.
			break
		}
		var farewell *driver.Departed
		if m == n.membership && n.fatal == nil && !n.solo {
			farewell = n.farewell(was)
		}
		last, cancelLast := context.WithTimeout(n.ctx, callTimeout)
		if err := m.Leave(last, farewell); err != nil {
			n.log.Warn("lease not revoked, leaving it to lapse", zap.Error(err))
		}
		cancelLast()
	}
	if n.candidacy != nil {
		<-n.candidacy.done // its membership is over, so it is as well
	}
	n.drop()
	if n.programRuns() {
		n.log.Error("program does not heed its context, leaving it behind")
	}
	n.become(modes.EventStop, now(), "stopped")
	n.membership = nil
	n.show()
	return nil
}

// succeed passes the term on before a stop, to the best candidate if there is
// one. It reports whether the lease is to be left as it is.
func (n *Node) succeed() (keepLease bool) {
	r := n.reign
	ctx, cancel := context.WithTimeout(n.ctx, heirBudget)
	defer cancel()
	if n.solo {
		n.release(ctx)
		return false
	}
	if n.cfg.OwnsStore {
		_ = n.stopProgram(ctx, errSteppingDown)
		if r.persister != nil {
			_ = r.persister.Hold(ctx)
		}
		n.log.Warn("store stops with this node, mastership is not handed over",
			zap.Int("nodes_without_store", len(n.CachedPlane().Members)-1))
		n.retire(modes.EventFor(n.rest()), now(), "stopping")
		return true
	}
	var err error
	if n.state == modes.StateMaster {
		if err = n.bequeath(ctx); err == nil {
			return false
		}
	}
	if !errors.Is(err, rebind.ErrUnavailable) && !errors.Is(err, rebind.ErrUnknown) {
		n.log.Info("not handed over, giving the term up", zap.Error(err))
		err = n.abdicate(ctx, modes.EventFor(n.rest()), driver.ReasonHandover, "stopping")
	}
	if err != nil {
		n.log.Warn("term not given up, dropping the lease", zap.Error(err))
		n.retire(modes.EventFor(n.rest()), now(), "stopping")
	}
	return false
}

// release ends the mastership of a disabled node, which has nobody to tell and
// nothing else to become.
func (n *Node) release(ctx context.Context) {
	r := n.reign
	_ = n.stopProgram(ctx, errSteppingDown)
	if r.persister != nil {
		_ = r.persister.Hold(ctx)
		n.group.Go(func() { _ = r.persister.Close(n.ctx) })
	}
	last, cancel := context.WithTimeout(n.ctx, callTimeout)
	defer cancel()
	n.hush(true)
	if err := r.Resign(last, n.record()); err != nil {
		n.log.Warn("term not given up, dropping the lease", zap.Error(err))
	}
	n.forget()
}

// forget lets go of the term, and of whoever waits for it to be announced.
func (n *Node) forget() {
	n.leading.Store(nil)
	close(n.reign.retired)
	n.reign, n.quiet = nil, false
}
