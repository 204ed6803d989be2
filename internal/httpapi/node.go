// This file serves /v1/node: a node's status, its mode and its priority.

package httpapi

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
)

// changeTimeout is how long a request waits for a change of mode, which continues after that.
const changeTimeout = time.Minute

func (s *Server) getNode(w http.ResponseWriter, _ *http.Request) error {
	st := s.node.Status()
	n := wire.Node{
		ID: st.ID, Instance: st.Instance, Plane: st.Plane, PlaneID: st.PlaneID,
		Mode: st.Mode, State: st.State, Priority: st.Priority, Version: st.Version, URI: st.URI,
		Started: st.Started, Since: st.Since,
		Term:             cmp.Or(st.Term, st.PlaneTerm), // a disabled node's term is its own
		LeaseRemainingMS: max(st.LeaseRemaining.Milliseconds(), 0),
		LastError:        st.LastError,
		Quarantined:      st.Quarantined,
		Transitions:      make([]wire.Transition, len(st.Transitions)),
	}
	for i, t := range st.Transitions {
		n.Transitions[i] = wire.Transition{At: t.At, From: t.From, To: t.To, Reason: t.Reason}
	}
	if m := st.Mirror; m != nil {
		n.Mirror = &wire.Mirror{
			Revision: int64(m.Revision), StalenessMS: m.Staleness.Milliseconds(),
			Count: m.Count, Bytes: m.Bytes, Loaded: m.Loaded, Total: m.Total,
		}
	}
	for _, f := range st.Faults {
		n.Quarantine = append(n.Quarantine, wire.Fault{Name: string(f.Name), ModRevision: int64(f.Revision), Reason: f.Fault})
	}
	return reply(w, http.StatusOK, n)
}

func (s *Server) putMode(w http.ResponseWriter, r *http.Request) error {
	var req wire.ModeRequest
	if err := decodeBody(w, r, maxControlBody, &req); err != nil {
		return err
	}
	var mode modes.Mode
	if err := mode.UnmarshalText([]byte(req.Mode)); err != nil {
		return badRequest("%w", err)
	}
	if err := s.checkStale(r); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), changeTimeout)
	defer cancel()
	change, err := s.node.ChangeMode(ctx, mode)
	status := http.StatusOK
	switch {
	case errors.Is(err, coordinator.ErrPending):
		status = http.StatusAccepted
	case err != nil:
		return err
	}
	return reply(w, status, wire.ModeReply{
		Previous: wire.ModeState{Mode: change.PreviousMode, State: change.PreviousState},
		Current:  wire.ModeState{Mode: change.Mode, State: change.State},
	})
}

func (s *Server) putPriority(w http.ResponseWriter, r *http.Request) error {
	var req wire.PriorityRequest
	if err := decodeBody(w, r, maxControlBody, &req); err != nil {
		return err
	}
	if req.Priority == nil {
		return badRequest(`body needs {"priority": N}`)
	}
	if err := s.checkStale(r); err != nil {
		return err
	}
	previous, err := s.node.SetPriority(r.Context(), *req.Priority)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, wire.PriorityReply{Previous: previous, Current: *req.Priority})
}
