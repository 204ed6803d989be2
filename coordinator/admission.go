package coordinator

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/retry"
	"github.com/coordinator-ha/coordinator/modes"
)

// This file decides whether a node may be in the plane that it finds: whose the plane is,
// who else is in it, and whether it holds the state that the node is to find. The loop
// asks before it joins, and again as long as the node lives.

// foreign tells why a node of the plane planeID must not be in p; planeID is empty
// for a node that has not been in a plane yet.
func foreign(planeID string, p *driver.PlaneCore) error {
	switch {
	case p.Format > driver.Format:
		return fmt.Errorf("%w: it has format %d, this program knows %d: use the newer program", driver.ErrForeignPlane, p.Format, driver.Format)
	case planeID != "" && p.ID != "" && p.ID != planeID:
		return fmt.Errorf("%w: its id is %s and this node belongs to %s: see --plane, --prefix and --plane-id", driver.ErrForeignPlane, p.ID, planeID)
	default:
		return nil
	}
}

// identify makes the node FAILED if the plane is not its own.
func (l *loop) identify() step {
	p := l.cache.current()
	planeID, _ := l.cache.memory()
	if err := foreign(planeID, &p.PlaneCore); err != nil {
		return l.failWith(err, "foreign plane")
	}
	return nil
}

// inspect looks at the plane before anything is written, and returns nil if this
// node may start in it.
func (l *loop) inspect() step {
	for pause := retry.NewBackoff(maxPause); ; {
		refusal, err := l.refusal()
		if errors.Is(err, driver.ErrDenied) { // at start nothing suggests that this will change, so it is not tried again
			refusal = err
		}
		if refusal != nil {
			return l.giveUp(refusal)
		}
		if err == nil {
			return nil
		}
		l.log.Warn("plane not read, retrying", zap.Error(err))
		if next := l.pause(pause.Next()); next != nil {
			return next
		}
	}
}

// refusal tells why this node must not start, or err if that cannot be told.
func (l *loop) refusal() (refusal, err error) {
	p, whole, err := l.survey()
	if err != nil {
		return nil, err
	}
	l.inspected = p.Holder.Term
	planeID, _ := l.cache.memory()
	if refusal := foreign(planeID, &p); refusal != nil {
		return refusal, nil
	}
	if err := l.denied(l.cfg.Mode); err != nil {
		return nil, err
	}
	switch {
	case l.cfg.RequireState:
		found, err := l.hasState()
		if err == nil && !found {
			refusal = fmt.Errorf("%w: the plane holds no memento and there is to be one: see --persist", driver.ErrNoState)
		}
		return refusal, err
	case l.cfg.CleanStart:
		return company(l.cfg.ID, l.inspected, whole), nil
	}
	return nil, nil
}

// survey returns what the node finds of its plane and, where the node has to be alone, the
// whole plane.
func (l *loop) survey() (driver.PlaneCore, *driver.Plane, error) {
	if l.cfg.CleanStart {
		p, err := l.node.Plane(l.ctx)
		if err == nil {
			l.cache.note(&p)
		}
		return p.PlaneCore, &p, err
	}
	ctx, cancel := context.WithTimeout(l.ctx, callTimeout)
	defer cancel()
	p, err := l.cache.until(ctx, func(p *driver.NearPlane) bool { return p.Revision != 0 })
	if err != nil {
		if _, why := l.store.Head(l.ctx); why != nil { // its error says more
			err = why
		}
		return p.PlaneCore, nil, fmt.Errorf("see plane: %w", err)
	}
	return p.PlaneCore, nil, nil
}

// denied tells why the store does not let this node write what it has to in a mode:
// nil if it does, or if that cannot be told now.
func (l *loop) denied(mode modes.Mode) error {
	ctx, cancel := context.WithTimeout(l.ctx, callTimeout)
	defer cancel()
	r := l.record()
	r.Mode = mode
	if err := l.store.Writable(ctx, r); errors.Is(err, driver.ErrDenied) {
		return fmt.Errorf("mode %s: %w", mode, err)
	}
	return nil
}

// company tells why a node must not delete all state: another node is here, or has led
// since this one looked. Clients of that one may have been told that their writes are
// stored.
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

// checkCompany ends a node that was started to delete all state once it is not alone.
func (l *loop) checkCompany() step {
	if !l.clean {
		return nil
	}
	if p, ok := l.cache.currentWhole(); ok {
		if why := company(l.cfg.ID, l.inspected, &p); why != nil {
			return l.giveUp(why)
		}
	}
	return nil
}

// errFound ends a load that has seen enough.
var errFound = errors.New("found")

// hasState reports whether the plane holds a memento.
func (l *loop) hasState() (bool, error) {
	ctx, cancel := context.WithTimeout(l.ctx, callTimeout)
	defer cancel()
	_, err := l.store.Load(ctx, func(page driver.Page) error {
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
