package coordinator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/clock"
	"github.com/coordinator-ha/coordinator/internal/retry"
	"github.com/coordinator-ha/coordinator/modes"
)

// await blocks until done is closed (ready), or something happened after which
// the caller looks again (neither), or something that takes the node elsewhere
// (next). It is the only place where the role loop waits, so a node in any step
// heeds all of these at once.
func (n *Node) await(done <-chan struct{}) (ready bool, next step) {
	n.outlook.widen(n.clean || n.reign != nil)
	n.publish()
	n.show()
	n.turn()
	requests := n.requests
	if n.pending != nil {
		requests = nil // one change at a time
	}
	var lost, over <-chan struct{}
	if n.membership != nil {
		lost = n.membership.Lost()
	}
	if n.reign != nil {
		over = n.reign.Context().Done()
	}
	select {
	case <-done:
		return true, nil
	case <-n.outlook.poked:
		n.heal()
		return false, nil
	case request := <-requests:
		return false, request()
	case <-over:
		return false, n.rejoin
	case <-lost:
		return false, n.rejoin
	case <-n.stop:
		n.stop = nil
		return false, n.leave
	case <-n.beat.C:
		if !n.amiss.IsZero() {
			n.heal() // nothing more may come that shows it
		}
		return false, nil // what failed is tried again
	}
}

// turn says that the role loop has come round, to who asks and to the lease: a node
// whose loop hangs must not keep what it holds.
func (n *Node) turn() {
	at := clock.Now()
	n.turned.Store(&at)
	if n.membership != nil {
		n.membership.Heartbeat()
	}
}

// pause is await for a time instead of an event.
func (n *Node) pause(d time.Duration) step {
	wait, cancel := context.WithTimeout(n.ctx, d)
	defer cancel()
	for {
		if ready, next := n.await(wait.Done()); ready || next != nil {
			return next
		}
	}
}

// become moves the node to the state that follows from event: the one place
// where its state changes. The store learns of it from publish.
func (n *Node) become(event modes.Event, at time.Time, reason string) {
	to, err := modes.Next(n.state, event)
	if err != nil {
		panic(err) // the steps below contradict the rules
	}
	if to == n.state {
		return
	}
	n.log.Info("state changed", zap.Stringer("from", n.state), zap.Stringer("to", to),
		zap.Stringer("mode", n.mode), zap.String("reason", reason))
	t := Transition{At: at, From: n.state, To: to, Reason: reason}
	n.state, n.since = to, at
	n.show()
	n.journal.add(t)
}

// rest is the state in which the node settles while it does not lead.
func (n *Node) rest() modes.State { return n.mode.Rest(!n.cfg.ColdStandby) }

// record is what the store should know of the node.
func (n *Node) record() driver.Record { return n.recordAs(n.state, n.since) }

// recordAs is the record of the node once it has come to the given state.
func (n *Node) recordAs(state modes.State, since time.Time) driver.Record {
	r := driver.Record{
		ID: n.cfg.ID, Plane: n.cfg.Plane, PlaneID: n.outlook.plane().ID, Instance: n.instance,
		Mode: n.mode, State: state, Priority: n.priority, Version: n.cfg.Version, URI: n.cfg.URI,
		Started: n.started, Since: since, LastError: strings.ToValidUTF8(cmp.Or(n.lastError, n.cfg.Trouble()), "\uFFFD"),
		ReadyFor: n.readyFor, GaveUp: n.gaveUp, GaveUpFor: n.gaveUpFor,
	}
	if state == modes.StateMaster && n.reign != nil {
		r.Term, r.Next = n.reign.Number(), n.reign.next
		r.ReadyFor, r.GaveUp, r.GaveUpFor = "", 0, ""
	}
	return r
}

// publish brings the store's record up to date. What fails is tried again at the
// next beat; a lease that is gone shows by itself.
func (n *Node) publish() {
	r := n.record()
	if !n.member() || n.solo || r == n.published {
		return
	}
	publish, whole := n.membership.Publish, n.ctx
	if n.state == modes.StateMaster && n.reign != nil {
		publish, whole = n.reign.Publish, n.reign.Context() // whose end must not wait for this
	}
	ctx, cancel := context.WithTimeout(whole, callTimeout)
	defer cancel()
	n.published, n.shown = driver.Record{}, driver.Record{}
	if err := publish(ctx, r); err != nil {
		if whole.Err() == nil {
			n.log.Warn("record not published, retrying", zap.Error(err))
		}
		return
	}
	n.hasPublished(r)
}

// hasPublished notes what the store holds now. A picture may be late to show it.
func (n *Node) hasPublished(r driver.Record) { n.published, n.amiss = r, time.Time{} }

// member reports whether the node has a membership that is not lost.
func (n *Node) member() bool {
	if n.membership == nil {
		return false
	}
	select {
	case <-n.membership.Lost():
		return false
	default:
		return true
	}
}

// heal republishes a record that somebody else has deleted or changed.
func (n *Node) heal() {
	p := n.outlook.plane()
	m, ok := p.Member(n.cfg.ID)
	switch {
	case !n.member() || n.published == (driver.Record{}):
		n.amiss = time.Time{}
	case ok && m.Record == n.published && n.membership.Owns(m):
		n.shown, n.amiss = n.published, time.Time{}
	case n.shown != n.published && n.amiss.IsZero():
		n.amiss = time.Now()
	case n.shown == n.published || time.Since(n.amiss) > glanceEvery:
		// A picture that has never shown it may only be late, but not for as long.
		n.log.Warn("own record was deleted or changed by somebody else, publishing it again", zap.Bool("there", ok))
		n.published, n.amiss = driver.Record{}, time.Time{}
	}
	n.publish()
}

// show lets others see the node as it is.
func (n *Node) show() {
	s := &self{
		record:     n.record(),
		membership: n.membership,
		candidate:  n.candidacy != nil,
		stopping:   n.ctx != nil && n.stop == nil,
		rest:       n.rest(),
	}
	if n.state == modes.StateMaster && n.reign != nil && !n.quiet {
		s.term = n.reign.Context()
	}
	if n.mirror != nil {
		s.mirror, s.follows = n.mirror.Mirror, n.mirror.ctx
	}
	n.self.Store(s)
}

// start joins the plane for the first time, if it is one that the node may be in,
// and sees whether the mode allows the node to be here.
func (n *Node) start() step {
	if next := n.inspect(); next != nil {
		return next
	}
	if n.mode == modes.Disabled {
		return n.seclude
	}
	if next := n.enter(true); next != nil {
		return next
	}
	switch {
	case n.mode == modes.Master:
		return n.order(&change{to: modes.Master, first: true, result: make(chan changeResult, 1)})
	case n.mode.NeedsMaster():
		return n.findMaster
	default:
		return n.settle
	}
}

// findMaster waits for the master that the node's mode needs at start.
func (n *Node) findMaster() step {
	wait, cancel := context.WithTimeout(n.ctx, n.cfg.WaitForMaster)
	defer cancel()
	for {
		p := n.outlook.plane()
		if _, ok := p.Master(); ok {
			return n.settle
		}
		if wait.Err() != nil {
			return n.giveUp(fmt.Errorf("%w: mode %s needs a live one at start: start a node that leads first, or have this one wait for it", ErrNoMaster, n.mode))
		}
		if _, next := n.await(wait.Done()); next != nil {
			return next
		}
	}
}

// enter joins the plane and returns nil when the node is a member, or where else
// it is to go. A store that does not answer is tried again for ever.
func (n *Node) enter(first bool) step {
	pause := retry.NewPause(maxPause)
	var taken time.Time // when the node id was first found taken
	for {
		r := n.record()
		ctx, cancel := context.WithTimeout(n.ctx, callTimeout)
		m, err := n.store.Join(ctx, r)
		cancel()
		if err == nil {
			n.membership, n.published, n.shown, n.amiss = m, r, driver.Record{}, time.Time{}
			n.turn()
			n.log.Info("joined")
			return nil
		}
		var holder *driver.TakenError
		switch {
		case first && errors.As(err, &holder):
			if why := n.contest(holder, &taken); why != nil {
				return n.giveUp(why)
			}
			pause.Reset()
		case first && errors.Is(err, driver.ErrExclusive):
			if why := n.contestOwn(err, &taken); why != nil {
				return n.giveUp(why)
			}
		default:
			n.log.Warn("not joined, retrying", zap.Error(err))
		}
		if next := n.pause(pause.Next()); next != nil {
			return next
		}
	}
}

// contest decides what a found record of this node id means: a live process, for
// which this one makes way, or a dead one, whose record lapses with its lease.
func (n *Node) contest(found *driver.TakenError, since *time.Time) error {
	if found.Holder.Instance == n.instance {
		return nil // this process's own: the answer to an earlier try was lost
	}
	if since.IsZero() {
		*since = time.Now()
		if n.cfg.StillAlive(n.ctx, found.Holder) {
			return fmt.Errorf("%w: it still answers", found)
		}
		n.log.Warn("this node id has a record of another process, waiting for it to lapse",
			zap.String("uri", found.Holder.URI), zap.Time("started", found.Holder.Started))
	}
	if time.Since(*since) > n.store.TTL()+takenGrace {
		return fmt.Errorf("%w: its record did not lapse", found)
	}
	return nil
}

// rejoin starts over with a new lease after the old one, or the term, was lost.
// The old lease is seen to be gone first, with all that hangs on it.
func (n *Node) rejoin() step {
	n.dethrone()
	if n.membership != nil {
		n.log.Warn("lease is lost, joining again", zap.Error(n.membership.Cause()))
		n.heed(n.membership.Cause())
		n.former, n.membership, n.published = n.membership, nil, driver.Record{}
	}
	for pause := retry.NewPause(maxPause); n.former != nil; {
		ctx, cancel := context.WithTimeout(n.ctx, callTimeout)
		err := n.former.Leave(ctx, nil)
		cancel()
		if err == nil {
			n.former = nil
			break
		}
		n.log.Warn("old lease not revoked, retrying", zap.Error(err))
		if next := n.pause(pause.Next()); next != nil {
			return next
		}
	}
	switch {
	case n.solo:
		return n.failed
	case n.mode == modes.Disabled:
		return n.exile
	}
	if next := n.enter(false); next != nil {
		return next
	}
	// It may have been disabled while it joined: then it settles.
	if n.state == modes.StateFailed && n.mode != modes.Disabled {
		n.answer(nil)
		return n.failed
	}
	return n.settle
}

// settle brings the node to the resting state of its mode: out of the election
// first, then the mirror complete or dropped, then the state.
func (n *Node) settle() step {
	if n.mode == modes.Disabled {
		return n.exile
	}
	if next := n.withdraw(); next != nil {
		return next
	}
	if next := n.identify(); next != nil {
		return next
	}
	rest := n.rest()
	if !rest.Hot() {
		n.become(modes.EventFor(rest), now(), n.why())
		n.drop()
		return n.settled()
	}
	n.follow()
	if !n.state.Hot() || n.mirror.View() == nil {
		n.become(modes.EventPrepare, now(), "loading state")
	}
	for n.mirror.View() == nil {
		if err := n.mirror.Refused(); err != nil {
			return n.failWith(err, "state cannot be loaded")
		}
		if _, next := n.await(n.mirror.Loaded()); next != nil {
			return next
		}
	}
	n.become(modes.EventFor(rest), now(), n.why())
	return n.settled()
}

// why is the reason told for settling.
func (n *Node) why() string {
	if n.pending != nil {
		return "mode changed to " + n.mode.String()
	}
	return "mode is " + n.mode.String()
}

// settled answers the change that led here, unless its outcome is still for the
// election to decide.
func (n *Node) settled() step {
	n.publish()
	if n.pending != nil && !n.pending.order && !n.vacant() {
		n.answer(nil)
	}
	return n.stand
}

// vacant reports whether the succession to a term that this node gave up is
// still open: nobody has it yet, or this node has and does not know. In a pause
// nobody is about to have it.
func (n *Node) vacant() bool {
	p := n.outlook.plane()
	return n.gaveUp != 0 && n.mode.Promotable() && p.Pause == nil &&
		(p.Holder.Term <= n.gaveUp || p.Holder.Node == n.cfg.ID)
}

// failed stays up to say why the node can do nothing.
func (n *Node) failed() step {
	for {
		if _, next := n.await(nil); next != nil {
			return next
		}
	}
}
