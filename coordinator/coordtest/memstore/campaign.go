package memstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

// retryEvery is the time between two tries of a candidate whose last one failed.
const retryEvery = 500 * time.Millisecond

// Campaign stands for election.
func (m *membership) Campaign(ctx context.Context, bid driver.Bid) (driver.Term, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(m.ctx, func() { cancel(m.Cause()) })()
	patience := time.NewTimer(0) // runs out when making way has
	defer patience.Stop()
	<-patience.C
	jump := bid.Ordered
	var tries driver.Attempts
	for {
		t, look, err := m.attempt(ctx, &bid, &jump)
		var off *calledOff
		failed := err != nil && !errors.Is(err, driver.ErrHold) && !errors.Is(err, driver.ErrYield)
		switch {
		case t != nil:
			return t, nil
		case ctx.Err() != nil:
			return nil, m.withdraw(context.Cause(ctx))
		case errors.As(err, &off):
			return nil, m.withdraw(off.why)
		case errors.Is(err, driver.ErrYield):
			patience.Reset(driver.YieldFor)
		case failed && !errors.Is(err, errMoved):
			tries.Failed(err, look.term)
		}
		if stuck := tries.Judge(look.term, m.store.server.ttl); stuck != nil {
			return nil, m.withdraw(stuck)
		}
		if failed {
			look.at = time.After(retryEvery)
		} else {
			tries.Reset()
		}
		select {
		case <-look.moved:
		case <-look.at:
		case <-patience.C:
			jump = true
		case <-bid.Forward:
			jump = true
		case <-ctx.Done():
			return nil, m.withdraw(context.Cause(ctx))
		}
	}
}

// calledOff is a bid that its bidder gives up.
type calledOff struct{ why error }

// Error implements error.
func (e *calledOff) Error() string { return "called off: " + e.why.Error() }

// again is when a candidate looks again, never on a nil channel, and what it saw.
type again struct {
	moved <-chan struct{}  // the store has changed
	at    <-chan time.Time // a pause is over, or a try may be repeated
	term  int64            // the last one
}

// attempt tries once to begin a term, and tells when to look again.
func (m *membership) attempt(ctx context.Context, bid *driver.Bid, jump *bool) (*term, again, error) {
	if err := m.store.reach(ctx, CallCampaign); err != nil {
		return nil, again{}, err
	}
	s := m.store.server
	defer s.mu.Unlock()
	look := again{moved: s.moved, term: s.holder.Term} // before claim, which may itself move things
	if p := s.pause; !p.Over(time.Now()) && p.Until != nil {
		look.at = time.After(time.Until(*p.Until))
	}
	t, err := m.claim(bid, jump)
	return t, look, err
}

// claim takes the term if it is this candidate's turn, or if it may jump the
// queue, which it may no more when that came to nothing; the caller holds mu.
func (m *membership) claim(bid *driver.Bid, jump *bool) (*term, error) {
	s := m.store.server
	made, queued := s.queue[m.lease.key]
	switch {
	case m.lease.gone || s.full || s.corrupt:
		return nil, nil
	case !queued || s.loose[m.lease.key]:
		s.unqueue(m.lease.key)
		s.queue[m.lease.key] = s.step()
		s.announce()
		return nil, nil // look again
	case s.held() && s.holder.Key == m.lease.key && s.holder.Term != m.led:
		return m.begin(), nil // by a handover
	}
	first := true
	for _, other := range s.queue {
		first = first && other >= made
	}
	jumps := *jump
	if s.held() {
		*jump = bid.Ordered
	}
	if !first && (!jumps || s.held()) {
		return nil, nil
	}
	led := s.holder.Key == m.lease.key && made <= s.termMod
	passed := int64(made) <= s.holder.Term && s.holder.Term <= int64(s.termMod)
	if s.held() || led || passed {
		m.requeue()
		return nil, nil
	}
	if first && bid.Defers(s.holder.Term) {
		m.requeue()
		return nil, driver.ErrYield
	}
	if err := bid.Consider(s.plane()); err != nil {
		switch {
		case errors.Is(err, driver.ErrHold):
			return nil, err
		case !errors.Is(err, driver.ErrYield):
			return nil, &calledOff{err}
		}
		*jump = bid.Ordered
		if !first {
			return nil, nil // its place in the queue is as good as it was
		}
		m.requeue()
		return nil, err
	}
	paused := !s.pause.Over(time.Now())
	if s.guard != nil || paused && !bid.Ordered || bid.Alone && !s.alone(m.lease) {
		return nil, nil
	}
	return m.take(bid, made)
}

// errMoved is why a candidate looks again: the store has changed meanwhile.
var errMoved = errors.New("the plane has changed meanwhile")

// take begins a term, if nothing changes before it does; the caller holds mu.
func (m *membership) take(bid *driver.Bid, made rebind.Revision) (*term, error) {
	s := m.store.server
	seen := s.revision
	s.mu.Unlock()
	err := m.store.allowed(CallClaim)
	s.mu.Lock()
	if err == nil && s.revision != seen {
		err = errMoved
	}
	if err != nil {
		return nil, err
	}
	last := s.holder.Term
	if last == 0 && (s.termMod != 0 || s.planeID != "") { // its record was deleted or garbled
		last = int64(s.revision)
	}
	if s.pause.Over(time.Now()) {
		s.lift()
		s.pause = nil
	}
	planeID, after := bid.Recall()
	s.found(planeID)
	s.holder = driver.Holder{
		Term: max(int64(made), last+1, after+1), Key: m.lease.key, Node: m.store.node,
		Since: time.Now().UTC().Truncate(time.Millisecond),
	}
	s.termMod = s.step()
	s.announce()
	if s.unheard[m.store.node] {
		delete(s.unheard, m.store.node)
		return nil, fmt.Errorf("%w: the answer of the term's transaction was lost", rebind.ErrUnavailable)
	}
	return m.begin(), nil
}

// requeue goes to the end of the queue; the caller holds mu.
func (m *membership) requeue() {
	s := m.store.server
	s.queue[m.lease.key] = s.step()
	s.announce()
}

// withdrawFor bounds the tries to delete a candidacy.
const withdrawFor = 2 * callTimeout

// withdraw deletes the candidacy, or ends the membership where that cannot be done.
func (m *membership) withdraw(why error) error {
	limit, cancel := context.WithTimeout(m.ctx, withdrawFor)
	defer cancel()
	for m.ctx.Err() == nil {
		err := m.store.reach(limit, CallWithdraw)
		switch {
		case err != nil && (limit.Err() != nil || errors.Is(err, driver.ErrDenied)):
			m.end(fmt.Errorf("%w: its candidacy cannot be given up: %w: %w", driver.ErrLeaseLost, err, why))
		case err != nil:
			select {
			case <-time.After(retryEvery):
			case <-limit.Done():
			}
		default:
			s := m.store.server
			if _, ok := s.queue[m.lease.key]; ok {
				s.unqueue(m.lease.key)
				s.step()
				s.announce()
			}
			s.mu.Unlock()
			return why
		}
	}
	return m.Cause()
}

// begin makes the term that the record gives to m; the caller holds mu.
func (m *membership) begin() *term {
	s := m.store.server
	t := &term{m: m, number: s.holder.Term, planeID: s.planeID, recorded: s.termMod, made: s.queue[m.lease.key]}
	t.ctx, t.over = context.WithCancelCause(s.ctx)
	m.led = t.number
	go t.watch()
	return t
}
