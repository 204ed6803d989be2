// This file answers supervisors and load balancers: live, ready, and one path for each role.

package httpapi

import (
	"fmt"
	"net/http"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/modes"
)

// liveTimeout is how old the last turn of a live node's loop may be.
const liveTimeout = 10 * time.Second

// getLive reports whether the process works. It never asks etcd: restarting a node does not
// help when the store is away.
func (s *Server) getLive(w http.ResponseWriter, r *http.Request) error {
	s.setInstance(w.Header())
	st := s.node.Status()
	return replyHealth(w, r, wire.Check{
		Name: "loop", OK: Live(&st),
		Reason: fmt.Sprintf("the node's loop last ran %s ago", st.LoopAge.Round(time.Millisecond)),
	})
}

// Live reports whether a node with this status is live, as /livez does.
func Live(st *coordinator.Status) bool { return st.LoopAge < liveTimeout }

// getReady reports whether the node does what its mode asks. A node is ready without a master
// in the plane.
func (s *Server) getReady(w http.ResponseWriter, r *http.Request) error {
	st := s.node.Status()
	return replyHealth(w, r,
		wire.Check{
			Name: "state", OK: st.State.Readable() || st.State == modes.StateStandby,
			Reason: fmt.Sprintf("state is %s", st.State),
		},
		wire.Check{
			Name: "store", OK: st.LeaseRemaining > 0,
			Reason: leaseReason(st.LeaseRemaining),
		},
		wire.Check{Name: "running", OK: !st.Stopping, Reason: runningReason(&st)},
	)
}

func leaseReason(left time.Duration) string {
	if left <= 0 {
		return "the store has not renewed the node's lease in time"
	}
	return fmt.Sprintf("the node's lease can be relied on for %s", left.Round(100*time.Millisecond))
}

func runningReason(st *coordinator.Status) string {
	if st.Stopping {
		return "the node is stopping"
	}
	return "the node has been running since " + st.Started.Format(time.RFC3339)
}

// getRole reports whether the node has a role.
func (s *Server) getRole(w http.ResponseWriter, r *http.Request) error {
	role := r.PathValue("role")
	st := s.node.Status()
	ok, known := hasRole(&st, role)
	if !known {
		return wire.NewProblem(http.StatusNotFound, wire.KindNotFound, fmt.Sprintf("no such role: %.50q; see %s", role, wire.PathOpenAPI))
	}
	reason := fmt.Sprintf("state is %s", st.State)
	if role == "writable" && st.Store.Refuses != nil {
		reason += fmt.Sprintf(", and the store takes no writes: %v", st.Store.Refuses)
	}
	return replyHealth(w, r, wire.Check{Name: role, OK: ok, Reason: reason})
}

func hasRole(st *coordinator.Status, role string) (ok, known bool) {
	switch role {
	case "master":
		return st.Acting, true
	case "standby":
		return st.State == modes.StateStandby, true
	case "hot_standby":
		return st.State == modes.StateHotStandby, true
	case "hot_backup":
		return st.State == modes.StateHotBackup, true
	case "hot":
		return st.State.Hot(), true
	case "readable":
		return st.State.Readable(), true
	case "promotable":
		return st.InElection && st.State.Electable(), true
	case "writable":
		return st.Acting && st.Store.Refuses == nil, true
	default:
		return false, false
	}
}

// replyHealth answers 200 if all checks pass, and 503 otherwise. With ?verbose the answer lists
// the checks.
func replyHealth(w http.ResponseWriter, r *http.Request, checks ...wire.Check) error {
	for _, c := range checks {
		if !c.OK {
			return wire.NewProblem(http.StatusServiceUnavailable, wire.KindNotReady, fmt.Sprintf("check %s fails: %s", c.Name, c.Reason))
		}
	}
	answer := wire.Health{OK: true}
	if r.URL.Query().Has("verbose") {
		answer.Checks = checks
	}
	return reply(w, http.StatusOK, answer)
}
