package coordinator

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/policy"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file holds how a master gives its term to another node. A handover is used by the
// operator's goroutine, or by the loop of a node that stops; what has the loop as its
// receiver is the loop's alone.

const (
	// readyTimeout bounds the time a handover's target takes to have all state in
	// memory. Meanwhile the old master goes on to lead.
	readyTimeout = 30 * time.Second
	// passTimeout bounds the time for which a handover keeps writes waiting.
	passTimeout = 2 * time.Second
	// candidateTimeout bounds the wait for a target that is about to be a candidate.
	candidateTimeout = time.Second
	// successorTimeout bounds the wait for the successor's readiness at a stop, and
	// leaves something of stopBudget for the transfer.
	successorTimeout = 2 * time.Second
	// announceTimeout is how long a handover waits to see its target announced.
	announceTimeout = 10 * time.Second
)

var (
	errNoSuccessor = errors.New("no candidate to hand over to")
	errPaused      = errors.New("the plane is paused, mastership is not handed over")
)

// handover is one attempt to give a term away.
type handover struct {
	node *Node
	term *leadership
}

// propose offers the handover to the candidate to, or to the best one if to is empty,
// and blocks until that is ready: for candidateTimeout, callTimeout and limit at most.
func (h *handover) propose(ctx context.Context, to string, limit time.Duration) (driver.Member, error) {
	n, r := h.node, h.term
	h.awaitCandidate(ctx, to)
	p, err := n.Plane(ctx)
	if err != nil {
		return driver.Member{}, err
	}
	target, err := h.target(&p, to)
	if err != nil {
		return driver.Member{}, err
	}
	offer := driver.Offer{ID: rand.Text(), From: n.cfg.ID, To: target.ID, Until: now().Add(limit)}
	wait, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	n.log.Info("handover offered", zap.String("handover", offer.ID), zap.String("to", target.ID))
	if err := r.shared.Offer(wait, &offer); err != nil {
		if errors.Is(err, driver.ErrClosed) {
			return driver.Member{}, ErrNotMaster
		}
		r.retract(n.log)
		return driver.Member{}, fmt.Errorf("offer handover to %s: %w", target.ID, err)
	}
	target, err = targetReady(wait, n.cache, &offer, false)
	switch {
	case err == nil:
		return target, nil
	case r.Context().Err() != nil:
		return driver.Member{}, ErrNotMaster
	case ctx.Err() != nil:
		err = fmt.Errorf("wait for %s to make ready: %w", offer.To, context.Cause(ctx))
	case wait.Err() != nil:
		err = fmt.Errorf("%w: %s did not make ready within %s", driver.ErrRefused, offer.To, limit)
	}
	r.retract(n.log)
	return driver.Member{}, err
}

// targetReady blocks until the target of an offer says that it is ready for it, or can
// no longer be, or ctx ends. seen says that the target has been in the picture: one that
// has only begun may show the offer before it shows the target.
func targetReady(ctx context.Context, cache *planeCache, offer *driver.Offer, seen bool) (driver.Member, error) {
	var target driver.Member
	var live bool
	err := cache.untilWhole(ctx, func(p *driver.Plane) bool {
		if p.Offer == nil || p.Offer.ID != offer.ID {
			return false // this picture is older than the term, or than the offer
		}
		target, live = p.Member(offer.To)
		if !live {
			return seen || slices.ContainsFunc(p.Departed, func(l driver.Departed) bool { return l.ID == offer.To })
		}
		seen = true
		able, _ := policy.Promotable(target)
		return !able || target.ReadyFor == offer.ID
	})
	if err != nil {
		return driver.Member{}, err
	}
	if !live {
		return driver.Member{}, fmt.Errorf("%w: %s left the plane", driver.ErrRefused, offer.To)
	}
	if able, why := policy.Promotable(target); !able {
		return driver.Member{}, fmt.Errorf("%w: %s is no longer promotable: %s", driver.ErrRefused, offer.To, why)
	}
	return target, nil
}

// awaitCandidate waits, for candidateTimeout at most, while all that is in the way of a
// handover is that its possible target is not a candidate yet, as a node that has just
// handed over, or has just joined.
func (h *handover) awaitCandidate(ctx context.Context, to string) {
	ctx, cancel := context.WithTimeout(ctx, candidateTimeout)
	defer cancel()
	_ = h.node.cache.untilWhole(ctx, func(p *driver.Plane) bool {
		return to == "" && len(policy.Candidates(*p)) > 0 || !slices.ContainsFunc(p.Members, func(m driver.Member) bool {
			return m.ID != h.node.cfg.ID && (to == "" || m.ID == to) &&
				m.Mode.Promotable() && (m.State.Electable() || m.State == modes.StateMaster) && m.Candidacy == 0
		})
	})
}

// target finds the candidate to hand over to, or says why it cannot be.
func (h *handover) target(p *driver.Plane, to string) (driver.Member, error) {
	if to == "" {
		candidates := policy.Candidates(*p)
		if len(candidates) == 0 {
			return driver.Member{}, fmt.Errorf("%w: %w", driver.ErrRefused, errNoSuccessor)
		}
		return candidates[0], nil
	}
	m, live := p.Member(to)
	if !live {
		return driver.Member{}, fmt.Errorf("%w: no live node %s", driver.ErrRefused, to)
	}
	if m.ID == h.node.cfg.ID {
		return driver.Member{}, fmt.Errorf("%w: %s leads already", driver.ErrRefused, to)
	}
	if ok, why := policy.Promotable(m); !ok {
		return driver.Member{}, fmt.Errorf("%w: %s is not promotable: %s", driver.ErrRefused, to, why)
	}
	return m, nil
}

// transfer gives the term to a target that is ready, within passTimeout. If it fails
// before the term has passed, this node goes on to lead.
func (l *loop) transfer(target driver.Member) (step, error) {
	r := l.leadership
	ctx, cancel := context.WithTimeout(r.Context(), passTimeout)
	defer cancel()
	rest := l.rest()
	at := now()
	record := l.recordAs(rest, at)
	err := l.program.end(ctx, errHandingOver)
	if err == nil {
		target, err = r.syncTarget(ctx, l.cache, l.replica.Mirror, target, l.log)
	}
	passing := err == nil
	if passing {
		l.suppressLeader(true)
		err = r.shared.Pass(ctx, target, record)
	}
	switch {
	case err == nil:
		l.log.Info("handed over", zap.Int64("term", r.Number()), zap.String("to", target.ID))
		l.endLeadership(rest, at, "handed over to "+target.ID)
		l.presence.stored(record)
		return func() step { return l.watchSuccessor(target.ID, r.Number()) }, nil
	case r.Context().Err() != nil || passing && errors.Is(err, rebind.ErrUnknown):
		return l.rejoin, fmt.Errorf("%w: the term ended during the handover: %w", rebind.ErrUnknown, err)
	}
	l.log.Warn("handover undone, leading on", zap.Error(err))
	r.retract(l.log)
	l.suppressLeader(false)
	r.persister.Resume()
	return l.lead, fmt.Errorf("%w: handover undone: %v", driver.ErrRefused, err) // an offer in doubt leaves nothing in doubt
}

// transferToBest gives the term of a node that stops to the best candidate.
func (l *loop) transferToBest(ctx context.Context) error {
	p, err := l.node.Plane(ctx)
	if err != nil {
		return err
	}
	if p.Pause != nil {
		return errPaused
	}
	target, err := (&handover{l.node, l.leadership}).propose(ctx, "", successorTimeout)
	if err != nil {
		return err
	}
	_, err = l.transfer(target)
	return err
}

// watchSuccessor waits until the successor has announced itself, or lost the term, before this
// node stands for election again, which would only load the store meanwhile.
func (l *loop) watchSuccessor(to string, old int64) step {
	limit, cancel := context.WithTimeout(l.ctx, announceTimeout)
	defer cancel()
	for p := l.cache.current(); !arrived(&p, to, old) && limit.Err() == nil; p = l.cache.current() {
		if _, next := l.await(limit.Done()); next != nil {
			return next
		}
	}
	return l.settle
}

// arrived reports whether the node to, which was given the term after old, has announced
// itself, or has lost that term.
func arrived(p *driver.NearPlane, to string, old int64) bool {
	if m, ok := p.Master(); ok && m.Term > old {
		return true
	}
	return p.Holder.Term > old && (!p.Held || p.Holder.Node != to)
}

// watchArrival waits for the target to announce itself and tells who leads.
func (h *handover) watchArrival(ctx context.Context, to string, old int64, began time.Time) (HandoverResult, error) {
	ctx, cancel := context.WithTimeout(ctx, announceTimeout)
	defer cancel()
	p, err := h.node.cache.until(ctx, func(p *driver.NearPlane) bool { return arrived(p, to, old) })
	if m, ok := p.Master(); err == nil && ok && m.ID == to {
		return HandoverResult{From: h.node.cfg.ID, To: to, Term: m.Term, Duration: time.Since(began)}, nil
	}
	if err != nil {
		return HandoverResult{}, fmt.Errorf("%w: %s was given the term and has not announced itself: see status", rebind.ErrUnknown, to)
	}
	return HandoverResult{}, fmt.Errorf("%w: %s was given the term and lost it: a failover follows, see status", rebind.ErrUnknown, to)
}
