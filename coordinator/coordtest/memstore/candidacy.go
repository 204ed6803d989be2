package memstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file is the election: a queue of keys, of which the oldest has its turn, and the
// transaction that begins a term.

// candidacy is one candidate's part in it. The server's mu guards its fields.
type candidacy struct {
	m        *presence
	made     rebind.Revision // when its key was made; 0 if the store had no room for it
	term     rebind.Revision // the revision of the term record when it was told of last
	position driver.Position // as it was told last
}

// Stand enters the node into the election.
func (m *presence) Stand(ctx context.Context) (driver.Candidacy, error) {
	if m.ctx.Err() != nil {
		return nil, m.Cause()
	}
	if err := m.store.reach(ctx, CallStand); err != nil {
		return nil, err
	}
	defer m.store.server.mu.Unlock()
	c := &candidacy{m: m}
	_ = c.enter()
	return c, nil
}

// enter puts the candidate at the end of the queue; the caller holds mu.
func (c *candidacy) enter() error {
	s := c.m.store.server
	switch {
	case c.m.lease.gone:
		return driver.ErrLeaseLost
	case s.full:
		return driver.ErrStoreFull
	case s.corrupt:
		return driver.ErrStoreCorrupt
	}
	s.unqueue(c.m.lease.key)
	c.made = s.step()
	s.queue[c.m.lease.key] = c.made
	s.announce()
	return nil
}

// Changed returns a channel that is closed when the store changes.
func (c *candidacy) Changed() <-chan struct{} {
	s := c.m.store.server
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.moved
}

// Position tells where the candidate stands. A node that is cut off hears nothing new.
func (c *candidacy) Position() driver.Position {
	s := c.m.store.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away(c.m.store.node) {
		return c.position
	}
	c.term = s.termMod
	there := c.made != 0 && s.candidacy(c.m.lease.key) == c.made
	first := there
	for _, other := range s.queue {
		first = first && other >= c.made
	}
	c.position = driver.Position{
		Term: s.holder.Term, Awarded: c.awarded(), Queued: there, Turn: first,
		Spent: there && c.spent(), Gone: c.made != 0 && !there, Failed: c.made == 0,
	}
	return c.position
}

// awarded reports whether the last term is this candidate's and new to it; the caller
// holds mu.
func (c *candidacy) awarded() bool {
	s := c.m.store.server
	return s.held() && s.holder.Key == c.m.lease.key && s.holder.Term != c.m.led
}

// spent reports whether the last term has overtaken the candidate's key, or was that key's;
// the caller holds mu.
func (c *candidacy) spent() bool {
	s := c.m.store.server
	led := s.holder.Key == c.m.lease.key && c.made <= s.termMod
	return led || int64(c.made) <= s.holder.Term && s.holder.Term <= int64(s.termMod)
}

// Look reads the plane.
func (c *candidacy) Look(ctx context.Context) (driver.Situation, error) {
	if err := c.m.store.reach(ctx, CallLook); err != nil {
		return driver.Situation{}, err
	}
	s := c.m.store.server
	defer s.mu.Unlock()
	c.term = s.termMod
	if c.made == 0 {
		if err := c.enter(); err != nil {
			return driver.Situation{}, fmt.Errorf("wait in the election: %w", err)
		}
	}
	there := s.candidacy(c.m.lease.key) == c.made
	return driver.Situation{
		Plane: s.plane(), Awarded: c.awarded(),
		Open: there && !s.held() && !c.spent(), Basis: c.basis(),
	}, nil
}

// basis is what Begin compares.
type basis struct {
	key, holder, term rebind.Revision // of the own key, the holder's key and the term record
	planeID           string
	pause             *driver.Pause
}

// basis returns it as it is; the caller holds mu.
func (c *candidacy) basis() basis {
	s := c.m.store.server
	return basis{c.made, s.queue[s.holder.Key], s.termMod, s.planeID, s.pause}
}

// Begin begins a term, if nothing has changed since the sighting.
func (c *candidacy) Begin(ctx context.Context, seen driver.Situation, conditions driver.Conditions) (driver.Term, error) {
	if err := c.m.store.reach(ctx, CallClaim); err != nil {
		return nil, err
	}
	s := c.m.store.server
	term, lost, err := c.commitTerm(seen, conditions)
	s.mu.Unlock()
	if lost != nil {
		lost()
		return nil, rebind.ErrUnavailable
	}
	return term, err
}

// commitTerm is the transaction. It returns no term but what is to happen meanwhile where the
// test wants its answer lost; the caller holds mu.
func (c *candidacy) commitTerm(seen driver.Situation, conditions driver.Conditions) (t driver.Term, lost func(), err error) {
	s := c.m.store.server
	paused := !s.pause.Over(time.Now())
	switch {
	case seen.Basis != c.basis(), s.candidacy(c.m.lease.key) != c.made, s.guard != nil:
		return nil, nil, driver.ErrChanged
	case paused && !conditions.InPause, conditions.Alone && !s.alone(c.m.lease):
		return nil, nil, driver.ErrChanged
	case s.full:
		return nil, nil, driver.ErrStoreFull
	}
	last := s.holder.Term
	if last == 0 && (s.termMod != 0 || s.planeID != "") { // its record was deleted or garbled
		last = int64(s.revision)
	}
	if !paused {
		s.lift()
		s.pause = nil
	}
	s.found(conditions.PlaneID)
	s.holder = driver.Holder{
		Term: max(int64(c.made), last+1, conditions.After+1), Key: c.m.lease.key, Node: c.m.store.node,
		Since: time.Now().UTC().Truncate(time.Millisecond),
	}
	s.termMod = s.step()
	s.announce()
	if s.unheard[c.m.store.node] {
		delete(s.unheard, c.m.store.node)
		return nil, func() {}, nil
	}
	if meanwhile, ok := s.mute[c.m.store.node]; ok {
		delete(s.mute, c.m.store.node)
		return nil, meanwhile, nil
	}
	return c.m.begin(), nil, nil
}

// Accept returns the term that the candidate was given.
func (c *candidacy) Accept() (driver.Term, error) {
	s := c.m.store.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if !c.awarded() {
		return nil, driver.ErrChanged
	}
	return c.m.begin(), nil
}

// Requeue goes to the end of the queue.
func (c *candidacy) Requeue(ctx context.Context) error {
	if err := c.m.store.reach(ctx, CallRequeue); err != nil {
		return err
	}
	s := c.m.store.server
	defer s.mu.Unlock()
	if s.termMod != c.term {
		return driver.ErrChanged
	}
	return c.enter()
}

// leaveFor bounds the tries to delete a candidacy, which are retryEvery apart.
const (
	leaveFor   = 2 * callTimeout
	retryEvery = 500 * time.Millisecond
)

// Leave deletes the candidacy, or ends the presence where that cannot be done.
func (c *candidacy) Leave(ctx context.Context, why error) error {
	m := c.m
	ctx, cancel := context.WithTimeout(ctx, leaveFor)
	defer cancel()
	defer context.AfterFunc(m.ctx, cancel)()
	for m.ctx.Err() == nil {
		err := m.store.reach(ctx, CallWithdraw)
		switch {
		case err != nil && (ctx.Err() != nil || errors.Is(err, driver.ErrDenied)):
			m.end(fmt.Errorf("%w: its candidacy cannot be given up: %w: %w", driver.ErrLeaseLost, err, why))
		case err != nil:
			select {
			case <-time.After(retryEvery):
			case <-ctx.Done():
			}
		default:
			s := m.store.server
			if _, ok := s.queue[m.lease.key]; ok {
				s.unqueue(m.lease.key)
				s.step()
				s.announce()
			}
			s.mu.Unlock()
			return nil
		}
	}
	return m.Cause()
}

// begin makes the term that the record gives to m; the caller holds mu.
func (m *presence) begin() *term {
	s := m.store.server
	recorded, made := s.termMod, s.queue[m.lease.key]
	t := &term{&termCore{m: m, number: s.holder.Term, planeID: s.planeID, recorded: recorded}}
	m.led = t.number
	t.begin(func() bool { return s.termMod != recorded || s.candidacy(m.lease.key) != made })
	return t
}
