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
func (l *loop) await(done <-chan struct{}) (ready bool, next step) {
	l.cache.followAll(l.clean || l.reign != nil)
	l.publish()
	l.show()
	l.turn()
	requests := l.node.requests
	if l.pending != nil {
		requests = nil // one change at a time
	}
	var lost, over <-chan struct{}
	if l.membership != nil {
		lost = l.membership.Lost()
	}
	if l.reign != nil {
		over = l.reign.Context().Done()
	}
	select {
	case <-done:
		return true, nil
	case <-l.cache.changed:
		l.heal()
		return false, nil
	case request := <-requests:
		return false, request(l)
	case <-over:
		return false, l.rejoin
	case <-lost:
		return false, l.rejoin
	case <-l.stop:
		l.stop = nil
		return false, l.leave
	case <-l.beat.C:
		if !l.amiss.IsZero() {
			l.heal() // nothing more may come that shows it
		}
		return false, nil // what failed is tried again
	}
}

// turn says that the role loop has come round, to who asks and to the lease: a node
// whose loop hangs must not keep what it holds.
func (l *loop) turn() {
	at := clock.Now()
	l.node.turned.Store(&at)
	if l.membership != nil {
		l.membership.Heartbeat()
	}
}

// pause is await for a time.
func (l *loop) pause(d time.Duration) step {
	wait, cancel := context.WithTimeout(l.ctx, d)
	defer cancel()
	for {
		if ready, next := l.await(wait.Done()); ready || next != nil {
			return next
		}
	}
}

// become moves the node to another state: the one place where its state changes.
// The store learns of it from publish.
func (l *loop) become(to modes.State, at time.Time, reason string) {
	if !modes.CanBecome(l.state, to) {
		panic(fmt.Sprintf("coordinator: a node that is %s cannot become %s", l.state, to)) // the steps contradict the rules
	}
	if to == l.state {
		return
	}
	l.log.Info("state changed", zap.Stringer("from", l.state), zap.Stringer("to", to),
		zap.Stringer("mode", l.mode), zap.String("reason", reason))
	t := Transition{At: at, From: l.state, To: to, Reason: reason}
	l.state, l.since = to, at
	l.show()
	l.node.journal.add(t)
}

// rest is the state in which the node settles while it does not lead.
func (l *loop) rest() modes.State { return l.mode.Rest(!l.cfg.ColdStandby) }

// record is what the store should know of the node.
func (l *loop) record() driver.Record { return l.recordAs(l.state, l.since) }

// recordAs is the record of the node once it has come to the given state.
func (l *loop) recordAs(state modes.State, since time.Time) driver.Record {
	r := driver.Record{
		ID: l.cfg.ID, Plane: l.cfg.Plane, PlaneID: l.cache.current().ID, Instance: l.instance,
		Mode: l.mode, State: state, Priority: l.priority, Version: l.cfg.Version, URI: l.cfg.URI,
		Started: l.started, Since: since, LastError: strings.ToValidUTF8(cmp.Or(l.lastError, l.cfg.Trouble()), "\uFFFD"),
		ReadyFor: l.readyFor, GaveUp: l.gaveUp, GaveUpFor: l.gaveUpFor,
	}
	if state == modes.StateMaster && l.reign != nil {
		r.Term, r.Next = l.reign.Number(), l.reign.next
		r.ReadyFor, r.GaveUp, r.GaveUpFor = "", 0, ""
	}
	return r
}

// publish brings the store's record up to date. What fails is tried again at the
// next beat; a lease that is gone shows by itself.
func (l *loop) publish() {
	r := l.record()
	if !l.member() || l.solo || r == l.published {
		return
	}
	publish, whole := l.membership.Publish, l.ctx
	if l.state == modes.StateMaster && l.reign != nil {
		publish, whole = l.reign.Publish, l.reign.Context() // whose end must not wait for this
	}
	ctx, cancel := context.WithTimeout(whole, callTimeout)
	defer cancel()
	l.published, l.shown = driver.Record{}, driver.Record{}
	if err := publish(ctx, r); err != nil {
		if whole.Err() == nil {
			l.log.Warn("record not published, retrying", zap.Error(err))
		}
		return
	}
	l.hasPublished(r)
}

// hasPublished notes what the store holds now. A picture may be late to show it.
func (l *loop) hasPublished(r driver.Record) { l.published, l.amiss = r, time.Time{} }

// member reports whether the node has a membership that is not lost.
func (l *loop) member() bool {
	if l.membership == nil {
		return false
	}
	select {
	case <-l.membership.Lost():
		return false
	default:
		return true
	}
}

// heal republishes a record that somebody else has deleted or changed.
func (l *loop) heal() {
	p := l.cache.current()
	m, ok := p.Member(l.cfg.ID)
	switch {
	case !l.member() || l.published == (driver.Record{}):
		l.amiss = time.Time{}
	case ok && m.Record == l.published && l.membership.Owns(m):
		l.shown, l.amiss = l.published, time.Time{}
	case l.shown != l.published && l.amiss.IsZero():
		l.amiss = time.Now()
	case l.shown == l.published || time.Since(l.amiss) > pollEvery:
		// A picture that has never shown it may only be late, but not for as long.
		l.log.Warn("own record was deleted or changed by somebody else, publishing it again", zap.Bool("there", ok))
		l.published, l.amiss = driver.Record{}, time.Time{}
	}
	l.publish()
}

// show lets others see the node as it is.
func (l *loop) show() {
	s := &self{
		record:     l.record(),
		membership: l.membership,
		candidate:  l.candidacy != nil,
		stopping:   l.ctx != nil && l.stop == nil,
		rest:       l.rest(),
	}
	if l.state == modes.StateMaster && l.reign != nil && !l.quiet {
		s.term = l.reign.Context()
	}
	if l.mirror != nil {
		s.mirror, s.follows = l.mirror.Mirror, l.mirror.ctx
	}
	l.node.self.Store(s)
}

// start joins the plane for the first time, if it is one that the node may be in,
// and sees whether the mode allows the node to be here.
func (l *loop) start() step {
	if next := l.inspect(); next != nil {
		return next
	}
	if l.mode == modes.Disabled {
		return l.seclude
	}
	if next := l.enter(true); next != nil {
		return next
	}
	switch {
	case l.mode == modes.Master:
		return l.order(&change{to: modes.Master, first: true, result: make(chan changeResult, 1)})
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

// enter joins the plane and returns nil when the node is a member, or where else
// it is to go. A store that does not answer is tried again for ever.
func (l *loop) enter(first bool) step {
	pause := retry.NewPause(maxPause)
	var taken time.Time // when the node id was first found taken
	for {
		r := l.record()
		ctx, cancel := context.WithTimeout(l.ctx, callTimeout)
		m, err := l.store.Join(ctx, r)
		cancel()
		if err == nil {
			l.membership, l.published, l.shown, l.amiss = m, r, driver.Record{}, time.Time{}
			l.turn()
			l.log.Info("joined")
			return nil
		}
		var holder *driver.TakenError
		switch {
		case first && errors.As(err, &holder):
			if why := l.contest(holder, &taken); why != nil {
				return l.giveUp(why)
			}
			pause.Reset()
		case first && errors.Is(err, driver.ErrExclusive):
			if why := l.contestOwn(err, &taken); why != nil {
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

// contest decides what a found record of this node id means: a live process, for
// which this one makes way, or a dead one, whose record lapses with its lease.
func (l *loop) contest(found *driver.TakenError, since *time.Time) error {
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
	l.dethrone()
	if l.membership != nil {
		l.log.Warn("lease is lost, joining again", zap.Error(l.membership.Cause()))
		l.heed(l.membership.Cause())
		l.former, l.membership, l.published = l.membership, nil, driver.Record{}
	}
	for pause := retry.NewPause(maxPause); l.former != nil; {
		ctx, cancel := context.WithTimeout(l.ctx, callTimeout)
		err := l.former.Leave(ctx, nil)
		cancel()
		if err == nil {
			l.former = nil
			break
		}
		l.log.Warn("old lease not revoked, retrying", zap.Error(err))
		if next := l.pause(pause.Next()); next != nil {
			return next
		}
	}
	switch {
	case l.solo:
		return l.failed
	case l.mode == modes.Disabled:
		return l.exile
	}
	if next := l.enter(false); next != nil {
		return next
	}
	// It may have been disabled while it joined: then it settles.
	if l.state == modes.StateFailed && l.mode != modes.Disabled {
		l.answer(nil)
		return l.failed
	}
	return l.settle
}

// settle brings the node to the resting state of its mode: out of the election
// first, then the mirror complete or dropped, then the state.
func (l *loop) settle() step {
	if l.mode == modes.Disabled {
		return l.exile
	}
	if next := l.withdraw(); next != nil {
		return next
	}
	if next := l.identify(); next != nil {
		return next
	}
	rest := l.rest()
	if !rest.Hot() {
		l.become(rest, now(), l.why())
		l.drop()
		return l.settled()
	}
	l.follow()
	if !l.state.Hot() || l.mirror.View() == nil {
		l.become(modes.StateInitializing, now(), "loading state")
	}
	for l.mirror.View() == nil {
		if err := l.mirror.Refused(); err != nil {
			return l.failWith(err, "state cannot be loaded")
		}
		if _, next := l.await(l.mirror.Loaded()); next != nil {
			return next
		}
	}
	l.become(rest, now(), l.why())
	return l.settled()
}

// why is the reason told for settling.
func (l *loop) why() string {
	if l.pending != nil {
		return "mode changed to " + l.mode.String()
	}
	return "mode is " + l.mode.String()
}

// settled answers the change that led here, unless its outcome is still for the
// election to decide.
func (l *loop) settled() step {
	l.publish()
	if l.pending != nil && !l.pending.order && !l.vacant() {
		l.answer(nil)
	}
	return l.stand
}

// vacant reports whether the succession to a term that this node gave up is
// still open: nobody has it yet, or this node has and does not know. In a pause
// nobody is about to have it.
func (l *loop) vacant() bool {
	p := l.cache.current()
	return l.gaveUp != 0 && l.mode.Promotable() && p.Pause == nil &&
		(p.Holder.Term <= l.gaveUp || p.Holder.Node == l.cfg.ID)
}

// failed stays up to say why the node can do nothing.
func (l *loop) failed() step {
	for {
		if _, next := l.await(nil); next != nil {
			return next
		}
	}
}
