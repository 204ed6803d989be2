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

// change is an operator's change of mode on its way.
type change struct {
	to            modes.Mode
	previousMode  modes.Mode
	previousState modes.State
	result        chan changeResult // takes one

	// order is a change to mode master: to lead at once or not at all.
	order bool
	first bool            // it is the mode the node was started in
	seen  rebind.Revision // when nobody else led
	until time.Time       // when it has failed; zero until the node is at rest
}

type changeResult struct {
	change ModeChange
	err    error
}

// changeMode takes up a change of mode. Where the node cannot act on it at once
// it sets the mode, and the step that the node is in ends as the new mode says.
func (l *loop) changeMode(c *change) step {
	c.previousMode, c.previousState = l.mode, l.state
	if l.solo && c.to != l.mode {
		l.pending = c
		l.answer(fmt.Errorf("%w: a node started in mode disabled is not in the plane: stop it and start it in mode %s", driver.ErrRefused, c.to))
		return nil
	}
	if c.to == l.mode && (l.state != modes.StateFailed || c.to == modes.Disabled) {
		l.pending = c
		l.answer(nil)
		return nil
	}
	if c.to.Promotable() && !l.mode.Promotable() {
		if err := l.denied(c.to); err != nil {
			l.pending = c
			l.answer(fmt.Errorf("%w: %w", driver.ErrRefused, err))
			return nil
		}
	}
	l.log.Info("mode change asked for", zap.Stringer("from", l.mode), zap.Stringer("to", c.to))
	leads := l.reign != nil
	if c.to == modes.Master && !leads {
		return l.order(c)
	}
	l.pending = c
	l.mode, l.aside = c.to, time.Time{}
	switch {
	case leads && (c.to == modes.Auto || c.to == modes.Master):
		if l.state == modes.StateMaster {
			l.publish()
			l.answer(nil)
		}
		return nil // a promotion under way answers when it is done
	case leads:
		return l.stepDown
	case l.state == modes.StateFailed && l.mode != modes.Disabled:
		l.lastError = ""
		l.become(modes.StateInitializing, now(), "mode changed to "+l.mode.String())
		if l.membership == nil {
			return l.rejoin
		}
	}
	if l.membership == nil {
		return nil // joining: the new mode settles afterwards
	}
	return l.settle
}

// order has the node lead at once or not at all.
func (l *loop) order(c *change) step {
	c.order = true
	c.previousMode, c.previousState = l.mode, l.state
	l.pending = c
	p, err := l.node.Plane(l.ctx)
	for pause := retry.NewPause(maxPause); c.first && err != nil; p, err = l.node.Plane(l.ctx) {
		l.log.Warn("plane not read, retrying", zap.Error(err))
		if next := l.pause(pause.Next()); next != nil {
			return next
		}
	}
	c.seen = p.Revision
	switch {
	case err != nil:
		return l.refuse(fmt.Errorf("%w: the store does not answer: %w", driver.ErrRefused, err))
	case l.membership == nil && l.state != modes.StateFailed:
		return l.refuse(fmt.Errorf("%w: the node is joining again", driver.ErrRefused))
	case p.Held && p.Holder.Node != l.cfg.ID:
		return l.refuse(masterExists(p.Holder.Node, p.Member))
	}
	l.mode, l.aside = modes.Master, time.Time{}
	l.lastError = ""
	if l.state == modes.StateFailed {
		l.become(modes.StateInitializing, now(), "mode changed to master")
	}
	if l.membership == nil {
		return l.rejoin
	}
	return l.settle
}

// arm gives an order its time once the node is at rest.
func (l *loop) arm() {
	if c := l.pending; c != nil && c.order && c.until.IsZero() {
		c.until = time.Now().Add(winTimeout)
		time.AfterFunc(winTimeout, l.cache.wake)
	}
}

// revert ends an order whose election did not go as ordered.
func (l *loop) revert(err error) step {
	l.mode = l.pending.previousMode
	if next := l.refuse(err); next != nil {
		return next
	}
	return l.settle
}

// refuse ends an order that changed nothing. A node that was started with it has
// nothing else to be and gives up.
func (l *loop) refuse(err error) step {
	if l.pending.first {
		return l.giveUp(fmt.Errorf("mode master: %w", err))
	}
	l.log.Info("mode change refused", zap.Error(err))
	l.answer(err)
	return nil
}

// answer tells whoever asked for the pending change what came of it.
func (l *loop) answer(err error) {
	c := l.pending
	if c == nil {
		return
	}
	l.pending = nil
	l.show() // whoever has the answer sees what it says
	c.result <- changeResult{
		change: ModeChange{l.mode, c.previousMode, l.state, c.previousState},
		err:    err,
	}
}
