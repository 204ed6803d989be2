package coordinator

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/clock"
	"github.com/coordinator-ha/coordinator/internal/policy"
)

// This file holds the loop's part in the election: when the node stands for election and when it
// withdraws, and the step in which it waits. What a candidate decides is in candidate.go. All
// of it belongs to the loop.

// campaign stands for election if the mode allows it, the store knows the node
// as it is, and no program of an earlier term is still running.
func (l *loop) campaign() {
	if l.candidacy != nil || !policy.Eligible(l.mode, l.state) ||
		!l.presence.live() || l.presence.published != l.record() || l.program.running() || l.standsAside() {
		return
	}
	ctx, cancel := context.WithCancel(l.ctx)
	c := &candidate{
		node: l.cfg.ID, cache: l.cache, log: l.log, limit: driver.StallLimit(l.store.TTL()),
		ordered: l.orders.ordered(),
		alone:   l.clean, inspected: l.inspected,
		cancel: cancel, done: make(chan struct{}), forward: make(chan struct{}, 1),
	}
	presence := l.presence.lease
	l.group.Go(func() {
		defer close(c.done)
		defer cancel()
		c.err = c.run(ctx, presence)
	})
	l.candidacy = c
}

// asideFor is how many times [driver.StallLimit] a node that could not become master leaves the
// election to others: two of them can have tried by then.
const asideFor = 2

// makeRoom leaves the election to others for a while, if a campaign or a presence ended because
// this node could not become master.
func (l *loop) makeRoom(why error) {
	if !errors.Is(why, driver.ErrStuck) || l.presence.exclusive {
		return
	}
	l.aside = time.Now().Add(asideFor * driver.StallLimit(l.store.TTL()))
	if l.lastError == why.Error() {
		return // logged before
	}
	l.lastError = why.Error()
	l.log.Error("could not become master, others go first", zap.Error(why))
}

// standsAside reports whether the node leaves the election to others. It goes on trying if
// there is no other candidate.
func (l *loop) standsAside() bool {
	if !time.Now().Before(l.aside) || l.orders.ordered() {
		return false
	}
	return slices.ContainsFunc(policy.Candidates(l.cache.estimate()), func(m driver.Member) bool { return m.ID != l.cfg.ID })
}

// vacantFor is the least time for which a term is vacant before candidates take it out of their
// turn, and for which each of them waits before it tries again.
const vacantFor = 2 * time.Second

// stepForward has the node take a vacant term out of its turn. It does so once and at once if
// the last master named it as its successor, because each candidate before it in the queue
// would read the whole plane and make way. It also does so when the vacancy lasts too long,
// because the candidates before it in the queue may be unable to lead, or may not be nodes
// at all. The queue does not decide who leads: the term's transaction does.
func (l *loop) stepForward() {
	c, p := l.candidacy, l.cache.current()
	if c == nil {
		return
	}
	if p.Held || p.Pause != nil {
		c.overdue = time.Time{}
		return
	}
	named := p.Holder.Term != c.stepped && l.cache.successorOf(p.Holder.Term) == l.cfg.ID
	late := !c.overdue.IsZero() && !time.Now().Before(c.overdue)
	if late || c.overdue.IsZero() {
		// All candidates see the vacancy, and each that steps forward reads all of them.
		wait := max(vacantFor, time.Duration(l.cache.size())*pollShare)
		c.overdue = time.Now().Add(wait + rand.N(wait/2))
	}
	if !named && !late {
		return
	}
	c.stepped = p.Holder.Term
	select {
	case c.forward <- struct{}{}:
	default:
	}
}

// withdraw takes the node out of the election and returns nil when it is out.
func (l *loop) withdraw() step {
	for l.candidacy != nil {
		l.candidacy.cancel()
		ready, next := l.await(l.candidacy.done)
		if next != nil {
			return next
		}
		if !ready {
			continue
		}
		term, err := l.candidacy.term, l.candidacy.err
		l.candidacy = nil
		l.makeRoom(err)
		if term == nil || term.Context().Err() != nil {
			return nil
		}
		// The term was won while the node was on its way out.
		ctx, cancel := context.WithTimeout(term.Context(), callTimeout)
		err = term.Resign(ctx, l.record())
		cancel()
		if err != nil {
			l.log.Warn("unwanted term not given up, dropping the lease", zap.Error(err))
			return l.rejoin
		}
	}
	return nil
}

// standBy waits at rest: for the election, a handover or an operator.
func (l *loop) standBy() step {
	for {
		l.campaign()
		l.stepForward()
		l.startDeadline()
		var elected chan struct{}
		if l.candidacy != nil {
			elected = l.candidacy.done
		}
		ready, next := l.await(elected)
		if next != nil {
			return next
		}
		if ready {
			c := l.candidacy
			l.candidacy = nil
			if c.term != nil {
				return l.promote(c)
			}
			if errors.Is(c.err, driver.ErrRefused) {
				return l.giveUp(c.err)
			}
			l.makeRoom(c.err)
			l.log.Warn("campaign ended", zap.Error(c.err))
			if next := l.pause(callTimeout / 10); next != nil {
				return next
			}
			continue
		}
		for _, look := range []step{l.identify, l.checkCampaign, l.checkCompany, l.prepareForOffer, l.review} {
			if next := look(); next != nil {
				return next
			}
		}
	}
}

// checkCampaign gives up the lease under which this node was elected if the campaign hangs and
// does not report it: the election key on that lease would keep the plane without a master.
func (l *loop) checkCampaign() step {
	c, p := l.candidacy, l.cache.current()
	switch {
	case c == nil:
		return nil
	case !p.Held || p.Holder.Node != l.cfg.ID:
		c.given = clock.Moment{}
		return nil
	case c.given.IsZero():
		c.given = clock.Now()
		return nil
	case c.given.Age() < driver.StallLimit(l.store.TTL()):
		return nil
	}
	l.log.Warn("campaign hangs although this node was elected, joining again", zap.Int64("term", p.Holder.Term))
	return l.rejoin
}

// prepareForOffer makes the node ready for a handover that names it, and drops what it prepared
// for one that is over.
func (l *loop) prepareForOffer() step {
	p := l.cache.current()
	offer := p.Offer
	given := p.Held && p.Holder.Node == l.cfg.ID // the offer may still be shown
	if l.readyFor != "" && (given || offer == nil && !p.Held) {
		return nil // the term has come to this node, and the campaign is about to report it
	}
	if offer == nil || offer.To != l.cfg.ID || !p.Held || offer.From != p.Holder.Node || l.candidacy == nil {
		l.readyFor = ""
		if !l.state.Hot() {
			l.dropReplica()
		}
		return nil
	}
	l.startReplica()
	switch err := l.replica.Refused(); {
	case err != nil:
		return l.failWith(err, "state cannot be loaded")
	case l.replica.View() == nil || l.replica.Revision() < offer.Due():
		l.awaitRevision(offer.Due())
	case l.readyFor != offer.ID:
		l.log.Info("ready for handover", zap.String("handover", offer.ID), zap.String("from", offer.From))
		l.readyFor, l.offer = offer.ID, *offer
	}
	return nil
}
