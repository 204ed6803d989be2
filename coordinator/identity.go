package coordinator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/retry"
	"github.com/coordinator-ha/coordinator/modes"
)

// This file decides whether a node may be in the plane it finds: whose the plane
// is, who else is in it, and whether it holds the state that is asked for.

// foreign tells why a node of the plane planeID must not be in p; planeID is empty
// for a node that has not been in a plane yet.
func foreign(planeID string, p *driver.Plane) error {
	switch {
	case p.Format > driver.Format:
		return fmt.Errorf("%w: it has format %d, this program knows %d: use the newer program", ErrForeignPlane, p.Format, driver.Format)
	case planeID != "" && p.ID != "" && p.ID != planeID:
		return fmt.Errorf("%w: its id is %s and this node belongs to %s: see --plane, --prefix and --plane-id", ErrForeignPlane, p.ID, planeID)
	default:
		return nil
	}
}

// identify fails the node if the plane as it is now seen is not the node's own.
func (n *Node) identify() step {
	p := n.outlook.plane()
	planeID, _ := n.outlook.memory()
	if err := foreign(planeID, &p); err != nil {
		return n.failWith(err, "foreign plane")
	}
	return nil
}

// inspect looks at the plane before anything is written, and returns nil if this
// node may start in it.
func (n *Node) inspect() step {
	for pause := retry.NewPause(maxPause); ; {
		refusal, err := n.refusal()
		if errors.Is(err, driver.ErrDenied) { // later it would be retried: here it was never otherwise
			refusal = err
		}
		if refusal != nil {
			return n.giveUp(refusal)
		}
		if err == nil {
			return nil
		}
		n.log.Warn("plane not read, retrying", zap.Error(err))
		if next := n.pause(pause.Next()); next != nil {
			return next
		}
	}
}

// refusal tells why this node must not start, or err if that cannot be told.
func (n *Node) refusal() (refusal, err error) {
	p, err := n.survey()
	if err != nil {
		return nil, err
	}
	n.inspected = p.Holder.Term
	planeID, _ := n.outlook.memory()
	if refusal := foreign(planeID, &p); refusal != nil {
		return refusal, nil
	}
	if err := n.denied(n.cfg.Mode); err != nil {
		return nil, err
	}
	switch n.cfg.Persist {
	case PersistRebind:
		found, err := n.hasState()
		if err == nil && !found {
			refusal = fmt.Errorf("%w: the plane holds no memento and there is to be one: see --persist", ErrNoState)
		}
		return refusal, err
	case PersistClean:
		return company(n.cfg.ID, n.inspected, &p), nil
	case PersistAuto:
	}
	return nil, nil
}

// survey returns the plane as the node finds it: what it follows of it, and all of
// it where it must be alone.
func (n *Node) survey() (driver.Plane, error) {
	if n.cfg.Persist == PersistClean {
		p, err := n.Plane(n.ctx)
		if err == nil {
			n.outlook.note(&p)
		}
		return p, err
	}
	ctx, cancel := context.WithTimeout(n.ctx, callTimeout)
	defer cancel()
	p, err := n.outlook.until(ctx, func(p *driver.Plane) bool { return p.Revision != 0 })
	if err != nil {
		if _, why := n.store.Head(n.ctx); why != nil { // it says what the matter is
			err = why
		}
		return p, fmt.Errorf("see plane: %w", err)
	}
	return p, nil
}

// denied tells why the store does not let this node write what it has to in a mode:
// nil if it does, or if that cannot be told now.
func (n *Node) denied(mode modes.Mode) error {
	ctx, cancel := context.WithTimeout(n.ctx, callTimeout)
	defer cancel()
	r := n.record()
	r.Mode = mode
	if err := n.store.Writable(ctx, r); errors.Is(err, driver.ErrDenied) {
		return fmt.Errorf("mode %s: %w", mode, err)
	}
	return nil
}

// company tells why the node must not delete all state: another one is here, or has
// led since the node looked, and may have been told that its writes are stored.
func company(node string, inspected int64, p *driver.Plane) error {
	for _, m := range p.Members {
		if m.ID != node {
			return fmt.Errorf("%w: all state is to be deleted and node %s is here", driver.ErrRefused, m.ID)
		}
	}
	if p.Holder.Term > inspected && p.Holder.Node != node {
		return fmt.Errorf("%w: all state is to be deleted and node %s has led since", driver.ErrRefused, p.Holder.Node)
	}
	return nil
}

// mindCompany ends a node that was started to delete all state once it is not alone.
func (n *Node) mindCompany() step {
	if !n.clean {
		return nil
	}
	p := n.outlook.plane()
	if why := company(n.cfg.ID, n.inspected, &p); why != nil {
		return n.giveUp(why)
	}
	return nil
}

// errFound ends a load that has seen enough.
var errFound = errors.New("found")

// hasState reports whether the plane holds a memento.
func (n *Node) hasState() (bool, error) {
	ctx, cancel := context.WithTimeout(n.ctx, callTimeout)
	defer cancel()
	_, err := n.store.Load(ctx, func(page driver.Page) error {
		if page.Total > 0 { // which is told before any has come
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		return true, nil
	}
	return false, err
}

// giveUp ends a node that can never start.
func (n *Node) giveUp(why error) step {
	n.fatal = why
	return n.leave
}

// seclude begins the life of a disabled node: master of itself, or nothing.
func (n *Node) seclude() step {
	var taken time.Time // when this node's own key was first found there
	for pause := retry.NewPause(maxPause); ; {
		planeID, _ := n.outlook.memory()
		ctx, cancel := context.WithTimeout(n.ctx, callTimeout)
		m, term, err := n.store.JoinExclusive(ctx, n.record(), planeID)
		cancel()
		var holder *driver.TakenError
		switch {
		case err == nil:
			n.membership, n.solo = m, true
			n.turn()
			n.log.Info("took the plane for this node alone")
			return n.promote(&candidacy{term: term, chosen: true})
		case errors.As(err, &holder):
			if why := n.contest(holder, &taken); why != nil {
				return n.giveUp(fmt.Errorf("mode disabled: %w", why))
			}
		case errors.Is(err, driver.ErrExclusive):
			if why := n.contestOwn(err, &taken); why != nil {
				return n.giveUp(fmt.Errorf("mode disabled: %w", why))
			}
		default:
			n.log.Warn("plane not taken, retrying", zap.Error(err))
		}
		if next := n.pause(pause.Next()); next != nil {
			return next
		}
	}
}

// contestOwn is contest for a node that is kept out by what a disabled node, or a
// node before one, has left under this node's own id: it lapses if that is dead. err
// is the refusal if somebody else keeps the node out.
func (n *Node) contestOwn(err error, since *time.Time) error {
	p, readErr := n.Plane(n.ctx)
	switch {
	case readErr != nil:
		return nil // look again
	case p.Exclusive != nil && p.Exclusive.Node == n.cfg.ID:
		return n.contest(&driver.TakenError{Holder: driver.Record{ID: n.cfg.ID, URI: p.Exclusive.URI}}, since)
	case p.Exclusive == nil && len(p.Members) == 1 && p.Members[0].ID == n.cfg.ID:
		return n.contest(&driver.TakenError{Holder: p.Members[0].Record}, since)
	default:
		return err
	}
}

// exile takes a node out of the plane that was asked to be disabled while it ran.
func (n *Node) exile() step {
	if next := n.withdraw(); next != nil {
		return next
	}
	was := n.state
	if n.pending != nil {
		was = n.pending.previous.State
	}
	n.lastError = "disabled by its operator: give it another mode to bring it back"
	n.become(modes.EventFail, now(), "disabled")
	n.drop()
	ctx, cancel := context.WithTimeout(n.ctx, callTimeout)
	defer cancel()
	if n.membership != nil {
		if err := n.membership.Leave(ctx, n.farewell(was)); err != nil {
			n.log.Warn("lease not revoked, leaving it to lapse", zap.Error(err))
			n.former = n.membership
		}
		n.membership, n.published = nil, driver.Record{}
	}
	n.answer(nil)
	return n.failed
}

// farewell is what is to be kept of this node when it leaves.
func (n *Node) farewell(was modes.State) *driver.Departed {
	at := now()
	r := n.recordAs(modes.StateTerminated, at)
	return &driver.Departed{Record: r, Was: was, At: at, How: driver.DepartureStopped}
}

// bury says of nodes that vanished that they did.
func (n *Node) bury() {
	if n.state != modes.StateMaster || n.solo {
		return
	}
	for _, m := range n.outlook.missing() {
		if m.ID == n.cfg.ID {
			n.outlook.buried(m.ID)
			continue
		}
		l := driver.Departed{Record: m.Record, Was: m.State, At: now(), How: driver.DepartureLost}
		l.State = modes.StateTerminated
		ctx, cancel := context.WithTimeout(n.reign.Context(), callTimeout)
		err := n.reign.RecordDeparture(ctx, l)
		cancel()
		if err != nil {
			level := zap.WarnLevel // the first failure of a row is news, the others are not
			if n.unburied {
				level = zap.DebugLevel
			}
			n.unburied = true
			n.log.Log(level, "vanished node not recorded, retrying", zap.String("vanished", m.ID), zap.Error(err))
			return
		}
		n.unburied = false
		n.log.Warn("node vanished", zap.String("vanished", m.ID), zap.Stringer("was", m.State))
		n.outlook.buried(m.ID)
	}
}
