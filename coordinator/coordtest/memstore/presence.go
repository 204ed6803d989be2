package memstore

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
)

// presence is a lease as its holder sees it, with a deadline of its own.
type presence struct {
	store *Store
	lease *lease
	until atomic.Int64 // Unix nanoseconds
	held  atomic.Int64 // the last revision at which the record was put here by its holder
	well  atomic.Int64 // until when the node has sent a heartbeat, likewise; 0: never yet
	ctx   context.Context
	end   context.CancelCauseFunc
	led   int64
}

// Join publishes r on a new lease.
func (s *Store) Join(ctx context.Context, r driver.Record) (driver.Presence, error) {
	if err := s.reach(ctx, CallJoin); err != nil {
		return nil, err
	}
	defer s.server.mu.Unlock()
	if e, ok := s.server.nodes[r.ID]; ok {
		return nil, &driver.TakenError{Holder: e.record}
	}
	if g := s.server.guard; g != nil {
		return nil, g.exclusiveError()
	}
	if s.server.full {
		return nil, driver.ErrStoreFull
	}
	m := s.member()
	s.server.nodes[r.ID] = &recordKey{record: r, joined: s.server.step(), lease: m.lease}
	m.held.Store(int64(s.server.revision))
	delete(s.server.left, r.ID)
	s.server.announce()
	return m, nil
}

// member makes a presence on a new lease; the caller holds the server.
func (s *Store) member() *presence {
	m := &presence{store: s, lease: s.server.grant()}
	m.ctx, m.end = context.WithCancelCause(s.server.ctx)
	life := s.life.ctx
	stop := context.AfterFunc(life, func() { m.end(fmt.Errorf("%w: %w", driver.ErrLeaseLost, context.Cause(life))) })
	context.AfterFunc(m.ctx, func() { stop() })
	m.renewed(time.Now())
	go m.keep()
	return m
}

func (m *presence) renewed(sent time.Time) {
	ttl := m.store.server.ttl
	m.until.Store(sent.Add(ttl - driver.Margin(ttl)).UnixNano())
}

// keep renews until the presence is over: by the server, or by the holder's own
// deadline while it is cut off.
func (m *presence) keep() {
	s := m.store.server
	tick := time.NewTicker(s.ttl / 6)
	defer tick.Stop()
	heard := time.Now()
	for {
		deadline := time.NewTimer(m.Remaining())
		select {
		case <-tick.C:
		case <-deadline.C:
		case <-m.ctx.Done():
			deadline.Stop()
			return
		}
		deadline.Stop()
		if m.Remaining() <= 0 {
			m.end(m.overdue())
			return
		}
		s.mu.Lock()
		if !s.starved[m.store.node] {
			heard = time.Now()
		}
		switch {
		case s.cut[m.store.node], m.store.look() != nil: // which ends the presence
		case time.Since(heard) >= driver.StallLimit(s.ttl):
			m.end(fmt.Errorf("%w: %w: the store renews it and answers nothing else", driver.ErrLeaseLost, driver.ErrStuck))
		case m.lease.gone:
			m.end(fmt.Errorf("%w: the store no longer has it", driver.ErrLeaseLost))
		default:
			m.lease.timer.Reset(s.ttl)
			m.renewed(time.Now())
		}
		s.mu.Unlock()
	}
}

// Remaining is the time left before the deadline.
func (m *presence) Remaining() time.Duration {
	left := time.Until(time.Unix(0, m.until.Load()))
	if well := m.well.Load(); well != 0 {
		left = min(left, time.Until(time.Unix(0, well)))
	}
	if m.ctx.Err() != nil {
		return min(left, 0)
	}
	return left
}

// overdue is why the deadline has passed.
func (m *presence) overdue() error {
	if well := m.well.Load(); well != 0 && well < m.until.Load() {
		return driver.ErrHung
	}
	return fmt.Errorf("%w: not renewed in time", driver.ErrLeaseLost)
}

// Heartbeat has the lease kept for [driver.StallLimit] from now on.
func (m *presence) Heartbeat() {
	m.well.Store(time.Now().Add(driver.StallLimit(m.store.server.ttl)).UnixNano())
}

// Lost returns a channel that is closed when the presence is over.
func (m *presence) Lost() <-chan struct{} { return m.ctx.Done() }

// Cause says why the presence is over.
func (m *presence) Cause() error { return context.Cause(m.ctx) }

// Publish replaces the record.
func (m *presence) Publish(ctx context.Context, r driver.Record) error {
	if err := m.store.reach(ctx, CallPublish); err != nil {
		return err
	}
	s := m.store.server
	defer s.mu.Unlock()
	if m.lease.gone {
		return driver.ErrLeaseLost
	}
	e, ok := s.nodes[r.ID]
	switch {
	case s.full:
		return driver.ErrStoreFull
	case !ok:
		s.nodes[r.ID] = &recordKey{record: r, joined: s.step(), lease: m.lease}
	case e.lease != m.lease && e.record.ID == r.ID && e.record.Instance != r.Instance && int64(e.joined) > m.held.Load():
		return driver.ErrNodeTaken
	case e.lease != m.lease: // somebody has put it over this one, or has written what no process writes
		s.nodes[r.ID] = &recordKey{record: r, joined: e.joined, lease: m.lease}
		s.step()
	default:
		e.record = r
		s.step()
	}
	m.held.Store(int64(s.revision))
	s.announce()
	return nil
}

// Owns reports whether the record of a member hangs on this lease.
func (m *presence) Owns(of driver.Member) bool { return of.CandidateKey == m.lease.key }

// Leave ends the presence.
func (m *presence) Leave(ctx context.Context, last *driver.Departed) error {
	m.end(fmt.Errorf("%w: left the plane", driver.ErrLeaseLost))
	if err := m.store.reach(ctx, CallLeave); err != nil {
		return err
	}
	s := m.store.server
	defer s.mu.Unlock()
	if last != nil && !s.full && s.carries(m.lease, last.ID) {
		s.left[last.ID] = *last
	}
	s.expire(m.lease)
	return nil
}

// JoinExclusive takes the plane for the node of r.
func (s *Store) JoinExclusive(ctx context.Context, r driver.Record, planeID string) (driver.Presence, driver.ExclusiveTerm, error) {
	if err := s.reach(ctx, CallJoinExclusive); err != nil {
		return nil, nil, err
	}
	defer s.server.mu.Unlock()
	if s.server.guard != nil {
		return nil, nil, s.server.guard.exclusiveError()
	}
	if len(s.server.nodes) > 0 || len(s.server.queue) > 0 {
		return nil, nil, fmt.Errorf("%w: somebody is in this one", driver.ErrExclusive)
	}
	m := s.member()
	s.server.found(planeID)
	s.server.guard = &guardKey{
		Guard: driver.Guard{Node: r.ID, URI: r.URI}, lease: m.lease, made: s.server.step(),
	}
	s.server.announce()
	made := s.server.guard.made
	t := &exclusiveTerm{&termCore{m: m, number: int64(made), planeID: s.server.planeID, recorded: made}}
	t.begin(func() bool { return s.server.guard == nil || s.server.guard.made != made })
	return m, t, nil
}
