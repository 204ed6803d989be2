package coordinator

import (
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/retry"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file holds what operators ask of a node, and is the only one that answers
// them. All of it belongs to the loop; [Node.ChangeMode] and its like send requests
// to it.

// orders are the requests of operators that the loop has taken up.
type orders struct {
	// pending is a change of mode without an answer yet. While there is one the loop
	// takes up no other request.
	pending *modeRequest
}

// modeRequest is an operator's change of mode on its way.
type modeRequest struct {
	to            modes.Mode
	previousMode  modes.Mode
	previousState modes.State
	refused       error           // why it failed, if it did
	result        chan modeResult // takes one

	// order is a change to mode master: to lead at once or not at all.
	order bool
	first bool            // it is the mode that the node was started in
	seen  rebind.Revision // at which nobody else led
	until time.Time       // when it has failed; zero until the node is at rest
}

type modeResult struct {
	change ModeChange
	err    error
}

// ordered reports whether an operator wants this node to lead at once.
func (o *orders) ordered() bool { return o.pending != nil && o.pending.order }

// takeModeChange takes up a change of mode. Where the node cannot act on it at once
// it sets the mode, and the step that the node is in ends as the new mode says.
func (l *loop) takeModeChange(c *modeRequest) step {
	c.previousMode, c.previousState = l.mode, l.state
	l.orders.pending = c
	if l.presence.exclusive && c.to != l.mode {
		return l.refuse(fmt.Errorf("%w: a node started in mode disabled is not in the plane: stop it and start it in mode %s", driver.ErrRefused, c.to))
	}
	if c.to == l.mode && (l.state != modes.StateFailed || c.to == modes.Disabled) {
		l.answer(nil)
		return nil
	}
	if c.to.Promotable() && !l.mode.Promotable() {
		if err := l.denied(c.to); err != nil {
			return l.refuse(fmt.Errorf("%w: %w", driver.ErrRefused, err))
		}
	}
	l.log.Info("mode change asked for", zap.Stringer("from", l.mode), zap.Stringer("to", c.to))
	leads := l.leadership != nil
	if c.to == modes.Master && !leads {
		return l.order(c)
	}
	l.mode, l.aside = c.to, time.Time{}
	switch {
	case leads && (c.to == modes.Auto || c.to == modes.Master):
		if l.state == modes.StateMaster {
			return l.review()
		}
		return nil // the promotion under way ends in lead, which reviews the change
	case leads:
		return l.resignForMode
	case l.state == modes.StateFailed && l.mode != modes.Disabled:
		l.lastError = ""
		l.become(modes.StateInitializing, now(), "mode changed to "+l.mode.String())
		if l.presence.lease == nil {
			return l.rejoin
		}
	}
	if l.presence.lease == nil {
		return nil // it is joining, and settles in the new mode afterwards
	}
	return l.settle
}

// order has the node lead at once or not at all.
func (l *loop) order(c *modeRequest) step {
	c.order = true
	c.previousMode, c.previousState = l.mode, l.state
	l.orders.pending = c
	p, err := l.node.Plane(l.ctx)
	for pause := retry.NewBackoff(maxPause); c.first && err != nil; p, err = l.node.Plane(l.ctx) {
		l.log.Warn("plane not read, retrying", zap.Error(err))
		if next := l.pause(pause.Next()); next != nil {
			return next
		}
	}
	c.seen = p.Revision
	switch {
	case err != nil:
		return l.refuse(fmt.Errorf("%w: the store does not answer: %w", driver.ErrRefused, err))
	case l.presence.lease == nil && l.state != modes.StateFailed:
		return l.refuse(fmt.Errorf("%w: the node is joining again", driver.ErrRefused))
	case p.Held && p.Holder.Node != l.cfg.ID:
		return l.refuse(masterExists(p.Holder.Node, p.Member))
	}
	l.mode, l.aside = modes.Master, time.Time{}
	l.lastError = ""
	if l.state == modes.StateFailed {
		l.become(modes.StateInitializing, now(), "mode changed to master")
	}
	if l.presence.lease == nil {
		return l.rejoin
	}
	return l.settle
}

// startDeadline gives an order its time once the node is at rest.
func (l *loop) startDeadline() {
	if c := l.orders.pending; c != nil && c.order && c.until.IsZero() {
		c.until = time.Now().Add(winTimeout)
		time.AfterFunc(winTimeout, l.cache.wake)
	}
}

// review answers the pending change if the node has come to where it leads. The steps
// in which a node stays call it: standBy, lead and failed. It returns where the node
// goes if the change has failed.
func (l *loop) review() step {
	c := l.orders.pending
	switch {
	case c == nil:
		return nil
	case l.state == modes.StateMaster, l.state == modes.StateFailed:
	case c.order:
		return l.reviewOrder(c)
	case l.vacant():
		return nil // the election is still to decide who leads
	}
	l.publish() // whoever has the answer finds the record as it says
	l.answer(c.refused)
	return nil
}

// reviewOrder ends an order whose election did not go as ordered.
func (l *loop) reviewOrder(c *modeRequest) step {
	p := l.cache.current()
	var why error
	switch {
	case p.Revision < c.seen:
		return nil // the picture is older than the one on which the order was taken up
	case p.Held && p.Holder.Node != l.cfg.ID:
		why = masterExists(p.Holder.Node, p.Member)
	case !c.until.IsZero() && !time.Now().Before(c.until):
		why = fmt.Errorf("%w: node did not win the election within %s", driver.ErrRefused, winTimeout)
	default:
		return nil
	}
	if next := l.refuse(why); next != nil {
		return next
	}
	return l.settle
}

// failOrder takes an order back that has made the node fail. The node stays FAILED in
// the mode that it had before, and review answers.
func (l *loop) failOrder(err error) {
	if c := l.orders.pending; c != nil && c.order {
		l.mode, c.refused = c.previousMode, fmt.Errorf("%w: %w", driver.ErrRefused, err)
	}
}

// refuse ends the pending change without effect: the node has the mode of before. A
// node that was started with an order has nothing else to be and gives up.
func (l *loop) refuse(err error) step {
	c := l.orders.pending
	l.mode = c.previousMode
	if c.first {
		return l.giveUp(fmt.Errorf("mode master: %w", err))
	}
	l.log.Info("mode change refused", zap.Error(err))
	l.answer(err)
	return nil
}

// answer tells whoever asked for the pending change, if there is one, what came of it.
// Apart from this file only a stop calls it.
func (l *loop) answer(err error) {
	c := l.orders.pending
	if c == nil {
		return
	}
	l.orders.pending = nil
	l.show() // whoever has the answer sees the node as it says
	c.result <- modeResult{
		change: ModeChange{l.mode, c.previousMode, l.state, c.previousState},
		err:    err,
	}
}

// takePriority takes up a change of the node's priority and returns the one it had.
func (l *loop) takePriority(to int) (previous int) {
	previous = l.priority
	l.log.Info("priority changed", zap.Int("from", previous), zap.Int("to", to))
	l.priority = to
	l.publish()
	return previous
}
