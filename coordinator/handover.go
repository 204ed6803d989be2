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

const (
	// readyTimeout bounds the time a handover's target takes to have all state in
	// memory. Meanwhile the old master leads on.
	readyTimeout = 30 * time.Second
	// passTimeout bounds the time for which a handover keeps writes waiting.
	passTimeout = 2 * time.Second
	// candidateTimeout bounds the wait for a target that is about to stand.
	candidateTimeout = time.Second
	// heirTimeout bounds the wait for the successor's readiness at a stop, and
	// leaves something of heirBudget to pass the term.
	heirTimeout = 2 * time.Second
	// announceTimeout is how long a handover waits to see its target announced.
	announceTimeout = 10 * time.Second
)

var (
	errNoHeir = errors.New("no candidate to hand over to")
	errPaused = errors.New("the plane is paused, mastership is not handed over")
)

// HandoverResult tells how a handover went.
type HandoverResult struct {
	From, To string
	Term     int64 // the new one
	Duration time.Duration
}

// Handover passes mastership from this node to the candidate to, or to the best
// one if to is empty, and blocks until the new master has announced itself:
//
//  1. the master offers the handover in the store
//  2. the target makes ready and says so in its record
//  3. the master takes no more writes and settles those under way, and the
//     target says that it has caught up with them
//  4. one fenced transaction gives the target the term
//  5. the target catches up and announces itself
//
// Until the fourth has committed this node leads, and resumes if anything goes
// wrong. It returns [ErrNotMaster], [driver.ErrRefused] with the reason, or
// [rebind.ErrUnknown] when the term has passed and the new master is not seen.
func (n *Node) Handover(ctx context.Context, to string) (HandoverResult, error) {
	done, err := n.takeTurn(ctx)
	if err != nil {
		return HandoverResult{}, err
	}
	defer done()
	leader := n.announced()
	if leader == nil {
		return HandoverResult{}, ErrNotMaster
	}
	began := time.Now()
	target, err := n.propose(ctx, leader.reign, to, readyTimeout)
	if err != nil {
		return HandoverResult{}, err
	}
	passed := make(chan error, 1)
	err = n.do(ctx, func(l *loop) step {
		if l.reign != leader.reign {
			passed <- ErrNotMaster
			return nil
		}
		next, err := l.pass(target)
		passed <- err
		return next
	})
	if err != nil {
		n.retract(leader.reign)
		return HandoverResult{}, err
	}
	if err := <-passed; err != nil {
		return HandoverResult{}, err
	}
	return n.watchArrival(ctx, target.ID, leader.Term(), began)
}

// propose offers the handover and waits until the target stands ready.
func (n *Node) propose(ctx context.Context, r *reign, to string, limit time.Duration) (driver.Member, error) {
	n.awaitCandidate(ctx, to)
	p, err := n.Plane(ctx)
	if err != nil {
		return driver.Member{}, err
	}
	target, err := n.target(&p, to)
	if err != nil {
		return driver.Member{}, err
	}
	offer := driver.Offer{ID: rand.Text(), From: n.cfg.ID, To: target.ID, Until: now().Add(limit)}
	wait, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	n.log.Info("handover offered", zap.String("handover", offer.ID), zap.String("to", target.ID))
	if err := r.Offer(wait, &offer); err != nil {
		if errors.Is(err, driver.ErrClosed) {
			return driver.Member{}, ErrNotMaster
		}
		n.retract(r)
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
	n.retract(r)
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
// handover is that who could be its target is about to stand for election: as a node that
// has just handed over is, or one that has just come.
func (n *Node) awaitCandidate(ctx context.Context, to string) {
	ctx, cancel := context.WithTimeout(ctx, candidateTimeout)
	defer cancel()
	_ = n.cache.untilWhole(ctx, func(p *driver.Plane) bool {
		return to == "" && len(policy.Candidates(*p)) > 0 || !slices.ContainsFunc(p.Members, func(m driver.Member) bool {
			return m.ID != n.cfg.ID && (to == "" || m.ID == to) &&
				m.Mode.Promotable() && (m.State.Electable() || m.State == modes.StateMaster) && m.Candidacy == 0
		})
	})
}

// target finds the candidate to hand over to, or says why it cannot be.
func (n *Node) target(p *driver.Plane, to string) (driver.Member, error) {
	if to == "" {
		candidates := policy.Candidates(*p)
		if len(candidates) == 0 {
			return driver.Member{}, fmt.Errorf("%w: %w", driver.ErrRefused, errNoHeir)
		}
		return candidates[0], nil
	}
	m, live := p.Member(to)
	if !live {
		return driver.Member{}, fmt.Errorf("%w: no live node %s", driver.ErrRefused, to)
	}
	if m.ID == n.cfg.ID {
		return driver.Member{}, fmt.Errorf("%w: %s leads already", driver.ErrRefused, to)
	}
	if ok, why := policy.Promotable(m); !ok {
		return driver.Member{}, fmt.Errorf("%w: %s is not promotable: %s", driver.ErrRefused, to, why)
	}
	return m, nil
}

// retract withdraws an offer. Should that fail it lapses with the lease, and an
// offer without an old master that passes its term means nothing.
func (n *Node) retract(r *reign) {
	ctx, cancel := context.WithTimeout(r.Context(), callTimeout/2)
	defer cancel()
	if err := r.Offer(ctx, nil); err != nil {
		n.log.Warn("handover offer not withdrawn", zap.Error(err))
	}
}

// pass gives the term to a target that stands ready. If it fails before the term
// has passed, this node leads on. The role loop runs it.
func (l *loop) pass(target driver.Member) (step, error) {
	r := l.reign
	ctx, cancel := context.WithTimeout(r.Context(), passTimeout)
	defer cancel()
	rest := l.rest()
	at := now()
	record := l.recordAs(rest, at)
	err := l.stopProgram(ctx, errHandingOver)
	if err == nil {
		target, err = l.drawLevel(ctx, target)
	}
	passing := err == nil
	if passing {
		l.hush(true)
		err = r.Pass(ctx, target, record)
	}
	switch {
	case err == nil:
		l.log.Info("handed over", zap.Int64("term", r.Number()), zap.String("to", target.ID))
		l.retire(rest, at, "handed over to "+target.ID)
		l.hasPublished(record)
		return func() step { return l.seeOff(target.ID, r.Number()) }, nil
	case r.Context().Err() != nil || passing && errors.Is(err, rebind.ErrUnknown):
		return l.rejoin, fmt.Errorf("%w: the term ended during the handover: %w", rebind.ErrUnknown, err)
	}
	l.log.Warn("handover undone, leading on", zap.Error(err))
	l.node.retract(r)
	l.hush(false)
	r.persister.Resume()
	return l.lead, fmt.Errorf("%w: handover undone: %v", driver.ErrRefused, err) // an offer in doubt leaves nothing in doubt
}

// hush has the node claim nothing of a master's while its term may already be over,
// or lets it speak again.
func (l *loop) hush(quiet bool) {
	l.quiet = quiet
	l.turn() // it has waited for its program and for writes, and come this far
	l.show()
}

// drawLevel takes no more writes, and waits until the target has all that this master
// has written. The offer that asks for it goes out beside the last writes; if the store
// may have taken one of them later it is made again, and says which was the last.
func (l *loop) drawLevel(ctx context.Context, target driver.Member) (driver.Member, error) {
	r := l.reign
	r.persister.Shut()
	offer := driver.Offer{ID: rand.Text(), From: l.cfg.ID, To: target.ID, Until: now().Add(passTimeout)}
	if err := r.Offer(ctx, &offer); err != nil {
		return driver.Member{}, err
	}
	if err := r.persister.Hold(ctx); err != nil {
		return driver.Member{}, err
	}
	if last := l.mirror.Revision(); offer.Made < last {
		offer.ID, offer.Revision = rand.Text(), last
		if err := r.Offer(ctx, &offer); err != nil {
			return driver.Member{}, err
		}
	}
	l.log.Debug("writes are taken no more", zap.Int64("term", r.Number()))
	level, err := targetReady(ctx, l.cache, &offer, true)
	if ctx.Err() != nil {
		return driver.Member{}, fmt.Errorf("%w: %s is behind: it has not come to revision %d within %s", driver.ErrRefused, target.ID, offer.Due(), passTimeout)
	}
	return level, err
}

// bequeath hands over to the best candidate when the node stops.
func (l *loop) bequeath(ctx context.Context) error {
	p, err := l.node.Plane(ctx)
	if err != nil {
		return err
	}
	if p.Pause != nil {
		return errPaused
	}
	target, err := l.node.propose(ctx, l.reign, "", heirTimeout)
	if err != nil {
		return err
	}
	_, err = l.pass(target)
	return err
}

// seeOff waits until the successor has announced itself, or lost the term, before this
// node stands for election again: that would only keep the store from it.
func (l *loop) seeOff(to string, old int64) step {
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
func (n *Node) watchArrival(ctx context.Context, to string, old int64, began time.Time) (HandoverResult, error) {
	ctx, cancel := context.WithTimeout(ctx, announceTimeout)
	defer cancel()
	p, err := n.cache.until(ctx, func(p *driver.NearPlane) bool { return arrived(p, to, old) })
	if m, ok := p.Master(); err == nil && ok && m.ID == to {
		return HandoverResult{From: n.cfg.ID, To: to, Term: m.Term, Duration: time.Since(began)}, nil
	}
	if err != nil {
		return HandoverResult{}, fmt.Errorf("%w: %s was given the term and has not announced itself: see status", rebind.ErrUnknown, to)
	}
	return HandoverResult{}, fmt.Errorf("%w: %s was given the term and lost it: a failover follows, see status", rebind.ErrUnknown, to)
}
