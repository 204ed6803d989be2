// This file serves /v1/plane: the plane's nodes, its history, handover, pause, resume and
// forget.

package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/credentials"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/internal/policy"
	"github.com/coordinator-ha/coordinator/modes"
)

// maxPause is the longest pause that ends by itself. A longer one has to be ended by an
// operator.
const maxPause = 365 * 24 * time.Hour

// checkInterval is the least time between two checks of whether the store takes writes: each
// check is a write.
const checkInterval = time.Second

// checkStore returns why the store does not take this node's writes, or nil. The result may be
// as old as checkInterval.
func (s *Server) checkStore(ctx context.Context) error {
	if c := s.lastCheck.Load(); c != nil && time.Since(c.at) < checkInterval {
		return c.err
	}
	err := s.node.CheckStore(ctx)
	if ctx.Err() == nil {
		s.lastCheck.Store(&storeCheck{time.Now(), err})
	}
	return err
}

// storeCheck is the result of a check.
type storeCheck struct {
	at  time.Time
	err error
}

func (s *Server) getPlane(w http.ResponseWriter, r *http.Request) error {
	body, err := s.planes.do(r.Context(), func(ctx context.Context) ([]byte, error) {
		return encodeJSON(s.showPlane(ctx)), nil
	})
	if err != nil {
		return err
	}
	writeBody(w, http.StatusOK, "application/json", body)
	return nil
}

// showPlane returns the plane as the store has it. If the store does not answer it returns the
// plane as it was last seen, and says why.
func (s *Server) showPlane(ctx context.Context) wire.Plane {
	p, err := s.node.Plane(ctx)
	st := s.node.Status()
	shown := wirePlane(st.Plane, &p)
	shown.StoreNotes = st.Store.Notes
	if err != nil {
		shown.StoreError = "it does not answer, and this was seen last: " + wire.ProblemOf(err).Detail
		if errors.Is(err, driver.ErrDenied) {
			shown.StoreError = "it answers, but not this node, and this was seen last: " + wire.ProblemOf(err).Detail
		}
	} else if err := s.checkStore(ctx); err != nil {
		shown.StoreError = "it takes no writes: " + wire.ProblemOf(err).Detail
		if errors.Is(err, driver.ErrDenied) {
			shown.StoreError = "it refuses this node's writes: " + wire.ProblemOf(err).Detail
		}
	}
	return shown
}

// wirePlane converts a plane.
func wirePlane(name string, p *driver.Plane) wire.Plane {
	shown := wire.Plane{
		Plane: name, PlaneID: p.ID, Term: p.Holder.Term, Revision: int64(p.Revision),
		Paused: p.Pause != nil, Pause: p.Pause, Exclusive: p.Exclusive, FormerExclusive: p.Exclusive,
		Nodes: make([]wire.PlaneNode, len(p.Members)),
		Left:  append([]driver.Departed{}, p.Departed...), // never null

		Strays: p.Strays,
	}
	if m, ok := p.Master(); ok {
		shown.Master = &m.ID
	}
	if next, why := policy.Next(*p); next != "" {
		shown.Next, shown.NextWhy = &next, why
	}
	for i, m := range p.Members {
		ok, why := policy.Promotable(m)
		shown.Nodes[i] = wire.PlaneNode{Record: m.Record, Promotable: ok, WhyNot: why}
		if m.URI == "" {
			shown.Nodes[i].Unreachable = wire.NoAddress
		}
	}
	return shown
}

func (s *Server) getHistory(w http.ResponseWriter, r *http.Request) error {
	body, err := s.histories.do(r.Context(), func(ctx context.Context) ([]byte, error) {
		items, err := s.node.History(ctx)
		if err != nil {
			return nil, err
		}
		return encodeJSON(wire.History{Items: items}), nil
	})
	if err != nil {
		return err
	}
	writeBody(w, http.StatusOK, "application/json", body)
	return nil
}

func (s *Server) postHandover(w http.ResponseWriter, r *http.Request) error {
	body, err := readJSON(w, r, maxControlBody)
	if err != nil {
		return err
	}
	var req wire.HandoverRequest
	if err := decodeJSON(body, &req); err != nil {
		return err
	}
	if !req.DryRun {
		if err := s.authorize(r, credentials.Operator); err != nil {
			return err
		}
	}
	return s.forwarder.runAtMaster(w, r, body, func(w http.ResponseWriter, r *http.Request) error {
		if req.DryRun {
			return s.checkHandover(w, r, req.To)
		}
		done, err := s.node.Handover(r.Context(), req.To)
		if err != nil {
			return err
		}
		return reply(w, http.StatusOK, wire.HandoverReply{
			From: done.From, To: done.To, Term: done.Term, DurationMS: done.Duration.Milliseconds(),
		})
	})
}

// checkHandover answers a dry run: it checks everything that a handover depends on.
func (s *Server) checkHandover(w http.ResponseWriter, r *http.Request, to string) error {
	var checks []coordinator.Check
	err := s.dryRuns.do(r.Context(), func() (err error) {
		checks, err = s.node.CheckHandover(r.Context(), to)
		return err
	})
	if err != nil {
		return err
	}
	answer := wire.DryRunReply{OK: true, Checks: make([]wire.Check, len(checks))}
	for i, c := range checks {
		answer.Checks[i] = wire.Check(c)
		answer.OK = answer.OK && c.OK
	}
	return reply(w, http.StatusOK, answer)
}

// postPause needs no master, because a pause matters most when there is none. Any node whose
// mode may write such keys can do it.
func (s *Server) postPause(w http.ResponseWriter, r *http.Request) error {
	return s.forwarder.runAtWriter(w, r, s.pause)
}

func (s *Server) pause(w http.ResponseWriter, r *http.Request) error {
	var req wire.PauseRequest
	if err := decodeOptionalBody(w, r, maxControlBody, &req); err != nil {
		return err
	}
	if req.ForMS < 0 || req.ForMS > maxPause.Milliseconds() {
		return badRequest("for_ms %d: use 1 to %d, or leave it out to pause until it is resumed", req.ForMS, maxPause.Milliseconds())
	}
	if st := s.node.Status(); st.Mode == modes.Disabled && st.State == modes.StateMaster {
		return fmt.Errorf("%w: this node is disabled and has the plane to itself: there is no promotion to pause", driver.ErrRefused)
	}
	if err := s.checkStale(r); err != nil {
		return err
	}
	p, err := s.node.Pause(r.Context(), time.Duration(req.ForMS)*time.Millisecond)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, wire.PauseReply{Paused: true, Pause: &p})
}

func (s *Server) postResume(w http.ResponseWriter, r *http.Request) error {
	return s.forwarder.runAtWriter(w, r, s.resume)
}

func (s *Server) resume(w http.ResponseWriter, r *http.Request) error {
	if err := decodeOptionalBody(w, r, maxControlBody, &struct{}{}); err != nil {
		return err
	}
	if err := s.checkStale(r); err != nil {
		return err
	}
	if err := s.node.Resume(r.Context()); err != nil {
		return err
	}
	return reply(w, http.StatusOK, wire.PauseReply{})
}

func (s *Server) deleteLeft(w http.ResponseWriter, r *http.Request) error {
	return s.forwarder.runAtWriter(w, r, s.forget)
}

func (s *Server) forget(w http.ResponseWriter, r *http.Request) error {
	if _, err := readBody(w, r, 0); err != nil {
		return err
	}
	if err := s.checkStale(r); err != nil {
		return err
	}
	id := r.PathValue("id")
	if err := s.node.Forget(r.Context(), id); err != nil {
		return err
	}
	return reply(w, http.StatusOK, wire.ForgetReply{Forgotten: id})
}
