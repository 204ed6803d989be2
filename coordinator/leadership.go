package coordinator

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/replica"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file holds a term that this node holds, from its election to its end, and what a
// program sees of it. The loop makes a leadership and ends it. Others may use what is
// set before announced is closed: the term, and the persister.

// leadership is a term that this node holds, in one of two kinds of plane.
type leadership struct {
	driver.AnyTerm
	shared    driver.Term          // the term, in a plane that nodes share; nil for a disabled node's
	exclusive driver.ExclusiveTerm // the term of a disabled node; nil in a plane that nodes share

	entry     driver.HistoryEntry
	began     time.Time // when the promotion began
	prevEnded time.Time // when the old master's key was seen to go; zero if it was not
	persister *replica.Persister
	announced chan struct{} // closed once this node is MASTER
	over      chan struct{} // closed once it is not, or will not be

	// Only the loop touches these.
	next       string // who would lead if the term ended
	suppressed bool   // the term may be over at any moment: the node must not claim to lead
	unrecorded bool   // the last attempt to record a departure has failed
}

// errNotShared is the refusal of a disabled node to hand its term over.
var errNotShared = fmt.Errorf("%w: a disabled node has no plane to share", driver.ErrRefused)

func newLeadership(t driver.Term) *leadership {
	return &leadership{AnyTerm: t, shared: t, announced: make(chan struct{}), over: make(chan struct{})}
}

func newExclusiveLeadership(t driver.ExclusiveTerm) *leadership {
	return &leadership{AnyTerm: t, exclusive: t, announced: make(chan struct{}), over: make(chan struct{})}
}

// giveUp ends the term in the store. A plane that nodes share then shows the record r.
func (t *leadership) giveUp(ctx context.Context, r driver.Record) error {
	if t.shared == nil {
		return t.exclusive.Resign(ctx)
	}
	return t.shared.Resign(ctx, r)
}

// begin lets the program and others write: mirror is as new as the term.
func (t *leadership) begin(mirror *replica.Mirror, maxPayload int) *Leader {
	t.persister = replica.NewPersister(t.Context(), t, mirror, maxPayload)
	return &Leader{leadership: t, mirror: mirror}
}

// hold takes no more writes, and blocks until those under way are settled or ctx ends.
func (t *leadership) hold(ctx context.Context) error {
	if t.persister == nil {
		return nil
	}
	return t.persister.Hold(ctx)
}

// retract withdraws the offer of a handover. Should that fail the offer lapses with the
// lease; without a transfer it means nothing. It blocks for half of callTimeout at most.
func (t *leadership) retract(log *zap.Logger) {
	ctx, cancel := context.WithTimeout(t.Context(), callTimeout/2)
	defer cancel()
	if err := t.shared.Offer(ctx, nil); err != nil {
		log.Warn("handover offer not withdrawn", zap.Error(err))
	}
}

// syncTarget takes no more writes, and waits until the target has all that this master
// has written. The offer that asks for it goes out beside the last writes; if the store
// may have taken one of them later it is made again, and says which was the last.
func (t *leadership) syncTarget(ctx context.Context, cache *planeCache, mirror *replica.Mirror, target driver.Member, log *zap.Logger) (driver.Member, error) {
	t.persister.Shut()
	offer := driver.Offer{ID: rand.Text(), From: cache.node, To: target.ID, Until: now().Add(passTimeout)}
	if err := t.shared.Offer(ctx, &offer); err != nil {
		return driver.Member{}, err
	}
	if err := t.persister.Hold(ctx); err != nil {
		return driver.Member{}, err
	}
	if last := mirror.Revision(); offer.Made < last {
		offer.ID, offer.Revision = rand.Text(), last
		if err := t.shared.Offer(ctx, &offer); err != nil {
			return driver.Member{}, err
		}
	}
	log.Debug("writes are taken no more", zap.Int64("term", t.Number()))
	level, err := targetReady(ctx, cache, &offer, true)
	if ctx.Err() != nil {
		return driver.Member{}, fmt.Errorf("%w: %s is behind: it has not come to revision %d within %s", driver.ErrRefused, target.ID, offer.Due(), passTimeout)
	}
	return level, err
}

// recordLost records the departure of a node that vanished, and reports whether it is
// recorded. It logs the first failure of a series as a warning, the rest at debug.
func (t *leadership) recordLost(m driver.Member, log *zap.Logger) bool {
	d := driver.Departed{Record: m.Record, Was: m.State, At: now(), How: driver.DepartureLost}
	d.State = modes.StateTerminated
	ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
	defer cancel()
	if err := t.shared.RecordDeparture(ctx, d); err != nil {
		level := zap.WarnLevel
		if t.unrecorded {
			level = zap.DebugLevel
		}
		t.unrecorded = true
		log.Log(level, "vanished node not recorded, retrying", zap.String("vanished", m.ID), zap.Error(err))
		return false
	}
	t.unrecorded = false
	log.Warn("node vanished", zap.String("vanished", m.ID), zap.Stringer("was", m.State))
	return true
}

// Leader is mastership as a program sees it.
type Leader struct {
	leadership *leadership
	mirror     *replica.Mirror
}

// Term returns the number of the term, the fencing token: it is higher than that
// of every earlier term. Pass it to systems outside the store and let them
// refuse older ones.
func (l *Leader) Term() int64 { return l.leadership.Number() }

// View returns the state as it is now.
func (l *Leader) View() *rebind.View { return l.mirror.View() }

// Commit stores d, all of it or nothing, and returns when the store has it and View shows
// it. If d was stored before under its [rebind.Delta.ID], Commit writes nothing and returns
// the first result, as long as a memento that d put still carries the id.
//
// It returns a [rebind.ErrInvalid] for a delta that can never be stored, a
// [rebind.ErrConflict] if an expectation is not met, and a [rebind.ErrUnavailable] if the
// store cannot be reached. Once the term is over it returns an [ErrNotMaster]. In all these
// cases nothing was written. After [rebind.ErrUnknown], which is also returned if ctx ends
// while d is under way, read before writing again.
//
// While this node announces itself d goes out, and Commit returns when that is done, or
// the term or ctx ends: whoever hears that d is stored can see who is master.
func (l *Leader) Commit(ctx context.Context, d rebind.Delta) (rebind.Receipt, error) {
	receipt, err := l.leadership.persister.Commit(ctx, d)
	switch {
	case errors.Is(err, driver.ErrClosed), errors.Is(err, driver.ErrFenced):
		return receipt, fmt.Errorf("%w: %w", ErrNotMaster, err)
	case err != nil:
		return receipt, err
	}
	select {
	case <-l.leadership.announced:
	case <-l.leadership.over:
	case <-l.leadership.Context().Done():
	case <-ctx.Done():
	}
	return receipt, nil
}
