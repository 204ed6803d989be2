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
	to       modes.Mode
	previous ModeState
	result   chan changeResult // takes one

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
func (n *Node) changeMode(c *change) step {
	c.previous = ModeState{n.mode, n.state}
	if n.solo && c.to != n.mode {
		n.pending = c
		n.answer(fmt.Errorf("%w: a node started in mode disabled is not in the plane: stop it and start it in mode %s", driver.ErrRefused, c.to))
		return nil
	}
	if c.to == n.mode && (n.state != modes.StateFailed || c.to == modes.Disabled) {
		n.pending = c
		n.answer(nil)
		return nil
	}
	if c.to.Promotable() && !n.mode.Promotable() {
		if err := n.denied(c.to); err != nil {
			n.pending = c
			n.answer(fmt.Errorf("%w: %w", driver.ErrRefused, err))
			return nil
		}
	}
	n.log.Info("mode change asked for", zap.Stringer("from", n.mode), zap.Stringer("to", c.to))
	leads := n.reign != nil
	if c.to == modes.Master && !leads {
		return n.order(c)
	}
	n.pending = c
	n.mode, n.aside = c.to, time.Time{}
	switch {
	case leads && (c.to == modes.Auto || c.to == modes.Master):
		if n.state == modes.StateMaster {
			n.publish()
			n.answer(nil)
		}
		return nil // a promotion under way answers when it is done
	case leads:
		return n.stepDown
	case n.state == modes.StateFailed && n.mode != modes.Disabled:
		n.lastError = ""
		n.become(modes.EventPrepare, now(), "mode changed to "+n.mode.String())
		if n.membership == nil {
			return n.rejoin
		}
	}
	if n.membership == nil {
		return nil // joining: the new mode settles afterwards
	}
	return n.settle
}

// order has the node lead at once or not at all.
func (n *Node) order(c *change) step {
	c.order = true
	c.previous = ModeState{n.mode, n.state}
	n.pending = c
	p, err := n.Plane(n.ctx)
	for pause := retry.NewPause(maxPause); c.first && err != nil; p, err = n.Plane(n.ctx) {
		n.log.Warn("plane not read, retrying", zap.Error(err))
		if next := n.pause(pause.Next()); next != nil {
			return next
		}
	}
	c.seen = p.Revision
	switch {
	case err != nil:
		return n.refuse(fmt.Errorf("%w: the store does not answer: %w", driver.ErrRefused, err))
	case n.membership == nil && n.state != modes.StateFailed:
		return n.refuse(fmt.Errorf("%w: the node is joining again", driver.ErrRefused))
	case p.Held && p.Holder.Node != n.cfg.ID:
		return n.refuse(&MasterExistsError{Master: p.Holder.Node})
	}
	n.mode, n.aside = modes.Master, time.Time{}
	n.lastError = ""
	if n.state == modes.StateFailed {
		n.become(modes.EventPrepare, now(), "mode changed to master")
	}
	if n.membership == nil {
		return n.rejoin
	}
	return n.settle
}

// arm gives an order its time once the node is at rest.
func (n *Node) arm() {
	if c := n.pending; c != nil && c.order && c.until.IsZero() {
		c.until = time.Now().Add(winTimeout)
		time.AfterFunc(winTimeout, n.outlook.poke)
	}
}

// revert ends an order whose election did not go as ordered.
func (n *Node) revert(err error) step {
	n.mode = n.pending.previous.Mode
	if next := n.refuse(err); next != nil {
		return next
	}
	return n.settle
}

// refuse ends an order that changed nothing. A node that was started with it has
// nothing else to be and gives up.
func (n *Node) refuse(err error) step {
	if n.pending.first {
		return n.giveUp(fmt.Errorf("mode master: %w", err))
	}
	n.log.Info("mode change refused", zap.Error(err))
	n.answer(err)
	return nil
}

// answer tells whoever asked for the pending change what came of it.
func (n *Node) answer(err error) {
	c := n.pending
	if c == nil {
		return
	}
	n.pending = nil
	n.show() // whoever has the answer sees what it says
	c.result <- changeResult{
		change: ModeChange{Previous: c.previous, Current: ModeState{n.mode, n.state}},
		err:    err,
	}
}
