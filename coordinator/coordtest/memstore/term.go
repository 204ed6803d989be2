package memstore

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

// maxHistory is how many terms the history keeps.
const maxHistory = 200

// settleFor is how long the outcome of a write is looked for after its term.
const settleFor = 2 * time.Second

// termCore is what every term has.
type termCore struct {
	m        *presence
	number   int64
	planeID  string
	recorded rebind.Revision
	fenced   func() bool // whether the term is over as the store sees it; its caller holds mu
	ctx      context.Context
	over     context.CancelCauseFunc
}

// begin has the term end when fenced says so, or with its presence.
func (t *termCore) begin(fenced func() bool) {
	t.fenced = fenced
	t.ctx, t.over = context.WithCancelCause(t.m.store.server.ctx)
	go t.watch()
}

// watch ends the term with the presence or with what it rests on.
func (t *termCore) watch() {
	s := t.m.store.server
	for t.ctx.Err() == nil {
		s.mu.Lock()
		moved, fenced, cut := s.moved, t.fenced(), s.away(t.m.store.node)
		s.mu.Unlock()
		if fenced && !cut {
			t.over(fmt.Errorf("%w: the store says so", driver.ErrTermOver))
			return
		}
		select {
		case <-moved:
		case <-t.m.ctx.Done():
			t.over(fmt.Errorf("%w: %w", driver.ErrTermOver, t.m.Cause()))
		case <-t.ctx.Done():
		}
	}
}

// PlaneID is the id of the plane as the term began.
func (t *termCore) PlaneID() string { return t.planeID }

// Number is the fencing token.
func (t *termCore) Number() int64 { return t.number }

// Revision is that of the term record.
func (t *termCore) Revision() rebind.Revision { return t.recorded }

// Context ends with the term.
func (t *termCore) Context() context.Context { return t.ctx }

// reach is the fence: it returns with the server locked and the term in force.
func (t *termCore) reach(ctx context.Context, call Call) error {
	if t.ctx.Err() != nil {
		return fmt.Errorf("%w: %w", driver.ErrClosed, context.Cause(t.ctx))
	}
	if err := t.m.store.reach(ctx, call); err != nil {
		return err
	}
	if t.fenced() {
		t.m.store.server.mu.Unlock()
		t.over(fmt.Errorf("%w: a write was refused", driver.ErrTermOver))
		return driver.ErrFenced
	}
	return nil
}

// Commit makes writes; see [driver.Writer].
func (t *termCore) Commit(ctx context.Context, writes []driver.Write) (rebind.Revision, error) {
	if err := t.reach(ctx, CallCommit); err != nil {
		return 0, err
	}
	s := t.m.store.server
	actual := make([]rebind.Revision, len(writes))
	same, puts := true, false
	for i := range writes {
		w := &writes[i]
		actual[i] = s.mementos[w.Name].at
		same = same && actual[i] == w.Base
		puts = puts || w.Put != nil
	}
	if !same {
		s.mu.Unlock()
		return 0, &driver.BaseError{Actual: actual}
	}
	if s.full && puts {
		s.mu.Unlock()
		return 0, driver.ErrStoreFull
	}
	at := s.apply(writes)
	_ = t.m.store.look() // it has just gone on
	meanwhile, lost := s.mute[t.m.store.node]
	delete(s.mute, t.m.store.node)
	s.announce()
	s.mu.Unlock()
	if lost {
		meanwhile()
		return t.settle(ctx, writes)
	}
	return at, nil
}

// settle finds out whether writes whose answer was lost were made.
func (t *termCore) settle(ctx context.Context, writes []driver.Write) (rebind.Revision, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleFor)
	defer cancel()
	if err := t.m.store.reach(ctx, CallCommit); err != nil {
		return 0, fmt.Errorf("%w: %w", rebind.ErrUnknown, err)
	}
	s := t.m.store.server
	defer s.mu.Unlock()
	deleted := true
	for i := range writes {
		w := &writes[i]
		if w.Put != nil && s.writers[w.Name] == w.ID {
			return s.mementos[w.Name].at, nil
		}
		_, there := s.mementos[w.Name]
		deleted = deleted && w.Put == nil && !there
	}
	if deleted && !t.fenced() {
		return s.revision, nil // who else could have
	}
	return 0, rebind.ErrUnknown
}

// Clear deletes all mementos.
func (t *termCore) Clear(ctx context.Context) (rebind.Revision, error) {
	if err := t.reach(ctx, CallClear); err != nil {
		return 0, err
	}
	s := t.m.store.server
	defer s.mu.Unlock()
	at := s.step()
	for name := range maps.Clone(s.mementos) {
		s.remove(at, name)
	}
	s.announce()
	return at, nil
}

// term is one mastership of a plane that nodes share.
type term struct{ *termCore }

var _ driver.Term = (*term)(nil)

// putRecord changes this node's record; the caller holds mu.
func (t *term) putRecord(r driver.Record) {
	s := t.m.store.server
	joined := s.revision
	if e, ok := s.nodes[r.ID]; ok {
		joined = e.joined
	}
	s.nodes[r.ID] = &recordKey{record: r, joined: joined, lease: t.m.lease}
}

// change runs one fenced transaction that puts something.
func (t *term) change(ctx context.Context, call Call, write func(s *Server) error) error {
	if err := t.reach(ctx, call); err != nil {
		return err
	}
	s := t.m.store.server
	defer s.mu.Unlock()
	if s.full {
		return driver.ErrStoreFull
	}
	if err := write(s); err != nil {
		return err
	}
	s.announce()
	return nil
}

// Announce publishes the master and its history entry.
func (t *term) Announce(ctx context.Context, r driver.Record, h driver.HistoryEntry) error {
	return t.change(ctx, CallAnnounce, func(s *Server) error {
		s.step()
		t.putRecord(r)
		s.history = append(s.history, h)
		s.history = s.history[max(0, len(s.history)-maxHistory):]
		return nil
	})
}

// Publish replaces the record.
func (t *term) Publish(ctx context.Context, r driver.Record) error {
	return t.change(ctx, CallPublish, func(s *Server) error {
		s.step()
		t.putRecord(r)
		return nil
	})
}

// RecordDeparture keeps what is known of a node that vanished.
func (t *term) RecordDeparture(ctx context.Context, l driver.Departed) error {
	return t.change(ctx, CallRecordDeparture, func(s *Server) error {
		_, left := s.left[l.ID]
		if _, back := s.nodes[l.ID]; !back && !left {
			s.step()
			s.left[l.ID] = l
		}
		return nil
	})
}

// CheckHandover finds everything allowed that there is room for.
func (t *term) CheckHandover(ctx context.Context, _ driver.Member) error {
	return t.change(ctx, CallPlane, func(s *Server) error {
		switch {
		case s.corrupt:
			return driver.ErrStoreCorrupt
		case s.full:
			return driver.ErrStoreFull
		}
		return nil
	})
}

// Offer publishes a handover or withdraws it.
func (t *term) Offer(ctx context.Context, h *driver.Offer) error {
	return t.change(ctx, CallOffer, func(s *Server) error {
		at := s.step()
		s.handover = nil
		if h != nil {
			h.Made = at
			s.handover = &offerKey{Offer: *h, lease: t.m.lease}
		}
		return nil
	})
}

// Pass gives the term to a candidate.
func (t *term) Pass(ctx context.Context, to driver.Member, r driver.Record) error {
	err := t.change(ctx, CallPass, func(s *Server) error {
		if s.candidacy(to.CandidateKey) != to.Candidacy || to.Candidacy == 0 || s.handover == nil {
			return fmt.Errorf("%w: %s is no longer in the election", driver.ErrRefused, to.ID)
		}
		s.holder = driver.Holder{
			Term: max(int64(to.Candidacy), t.number+1), Key: to.CandidateKey, Node: to.ID,
			Since: time.Now().UTC().Truncate(time.Millisecond),
		}
		s.termMod = s.step()
		s.unqueue(t.m.lease.key)
		s.handover = nil
		t.putRecord(r)
		return nil
	})
	if err == nil {
		t.over(fmt.Errorf("%w: handed over to %s", driver.ErrTermOver, to.ID))
	}
	return err
}

// Resign gives the term up.
func (t *term) Resign(ctx context.Context, r driver.Record) error {
	err := t.change(ctx, CallResign, func(s *Server) error {
		s.step()
		s.unqueue(t.m.lease.key)
		s.handover = nil
		t.putRecord(r)
		return nil
	})
	if err == nil {
		t.over(fmt.Errorf("%w: given up", driver.ErrTermOver))
	}
	return err
}

// exclusiveTerm is the mastership of a disabled node.
type exclusiveTerm struct{ *termCore }

var _ driver.ExclusiveTerm = (*exclusiveTerm)(nil)

// Resign gives the plane up, with the lease.
func (t *exclusiveTerm) Resign(ctx context.Context) error {
	if err := t.m.Leave(ctx, nil); err != nil {
		return err
	}
	t.over(fmt.Errorf("%w: given up", driver.ErrTermOver))
	return nil
}
