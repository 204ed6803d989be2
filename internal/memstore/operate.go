package memstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

// Writable tells whether there is room.
func (s *Store) Writable(ctx context.Context, _ driver.Record) error {
	if err := s.reach(ctx, CallOperate); err != nil {
		return err
	}
	defer s.server.mu.Unlock()
	if s.server.full {
		return rebind.ErrStoreFull
	}
	return nil
}

// Pause puts p in force. Its key outlives its end by a TTL: so it would where the lease
// that it hangs on is renewed in full when the store changes its leader.
func (s *Store) Pause(ctx context.Context, p driver.Pause) error {
	return s.operate(ctx, func(server *Server) error {
		server.lift()
		server.pause = &p
		if p.Until != nil {
			server.lifted = time.AfterFunc(time.Until(*p.Until)+server.ttl, func() {
				server.mu.Lock()
				defer server.mu.Unlock()
				server.pause = nil
				server.step()
				server.announce()
			})
		}
		return nil
	})
}

// lift forgets when a pause ends; the caller holds mu.
func (s *Server) lift() {
	if s.lifted != nil {
		s.lifted.Stop()
		s.lifted = nil
	}
}

// Resume ends a pause.
func (s *Store) Resume(ctx context.Context) error {
	return s.operate(ctx, func(server *Server) error {
		server.lift()
		if server.pause == nil {
			return errNothing
		}
		server.pause = nil
		return nil
	})
}

// errNothing is a change that changes nothing, which makes no revision.
var errNothing = errors.New("nothing to change")

// Forget deletes what is kept of a node that left.
func (s *Store) Forget(ctx context.Context, node string) error {
	return s.operate(ctx, func(server *Server) error {
		if _, ok := server.left[node]; !ok {
			return fmt.Errorf("%w among those that left: %s", driver.ErrNoNode, node)
		}
		delete(server.left, node)
		return nil
	})
}

// operate makes one change without a term.
func (s *Store) operate(ctx context.Context, change func(*Server) error) error {
	if err := s.reach(ctx, CallOperate); err != nil {
		return err
	}
	defer s.server.mu.Unlock()
	if err := change(s.server); err != nil {
		if errors.Is(err, errNothing) {
			return nil
		}
		return err
	}
	s.server.step()
	s.server.announce()
	return nil
}

// JoinExclusive takes the plane for the node of r.
func (s *Store) JoinExclusive(ctx context.Context, r driver.Record, planeID string) (driver.Presence, driver.Term, error) {
	if err := s.reach(ctx, CallSeclude); err != nil {
		return nil, nil, err
	}
	defer s.server.mu.Unlock()
	if s.server.guard != nil {
		return nil, nil, s.server.guard.secluded()
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
	t := &term{m: m, number: int64(s.server.guard.made), planeID: s.server.planeID, recorded: s.server.guard.made, solo: true}
	t.ctx, t.over = context.WithCancelCause(s.server.ctx)
	go t.watch()
	return m, t, nil
}
