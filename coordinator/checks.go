package coordinator

import (
	"fmt"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/policy"
	"github.com/coordinator-ha/coordinator/modes"
)

// This file holds what a handover depends on, one function for each check. They read what
// they are given and change nothing.

// Check is one thing that a handover depends on, as it is now.
type Check struct {
	Name   string
	OK     bool
	Reason string
}

func checkMaster(s Status) Check {
	return Check{
		Name: "master", OK: s.Acting,
		Reason: fmt.Sprintf("%s is %s, its lease holds for another %s", s.ID, s.State, max(s.LeaseRemaining, 0).Round(1e6)),
	}
}

func checkLive(to string, live bool) Check {
	c := Check{Name: "liveness", OK: live, Reason: fmt.Sprintf("%s is live", to)}
	switch {
	case to == "":
		c.Reason = "there is no candidate: start a node whose mode allows promotion"
	case !live:
		c.Reason = fmt.Sprintf("no live node %s: see status", to)
	}
	return c
}

func checkMode(m driver.Member, live bool) Check {
	c := Check{Name: "mode", OK: live && m.Mode.Promotable(), Reason: fmt.Sprintf("mode is %s", m.Mode)}
	switch {
	case !live:
		c.Reason = "no live node to look at"
	case !c.OK:
		c.Reason = fmt.Sprintf("mode %s is never promoted: give the node another mode first", m.Mode)
	}
	return c
}

func checkState(self string, m driver.Member, live bool) Check {
	c := Check{Name: "state", Reason: "no live node to look at"}
	switch able, why := policy.Promotable(m); {
	case !live:
	case m.ID == self:
		c.Reason = fmt.Sprintf("%s leads already", m.ID)
	default:
		c.OK, c.Reason = able, why
		if able {
			c.Reason = fmt.Sprintf("%s stands for election as %s", m.ID, m.State)
		}
	}
	return c
}

// checkRank never fails for a candidate: a handover may go to any of them.
func checkRank(p driver.Plane, to string) Check {
	for i, m := range policy.Candidates(p) {
		if m.ID != to {
			continue
		}
		next, why := policy.Next(p)
		if i == 0 {
			return Check{"priority order", true, fmt.Sprintf("%s is next by itself: %s", to, why)}
		}
		return Check{"priority order", true, fmt.Sprintf("%s ranks %d. after %s (%s), which a handover by name does not mind", to, i+1, next, why)}
	}
	return Check{"priority order", false, "not among the candidates"}
}

func checkMirror(m driver.Member, live bool, l *Leader) Check {
	switch {
	case !live || !m.Mode.Promotable():
		return Check{"mirror", false, "no candidate to look at"}
	case m.State.Hot():
		return Check{"mirror", true, "is complete: the target only catches up"}
	case m.State == modes.StateStandby:
		return Check{"mirror", true, fmt.Sprintf("a cold target first loads %d mementos, while the master leads on", l.View().Len())}
	default:
		return Check{"mirror", false, fmt.Sprintf("state is %s", m.State)}
	}
}

func checkContent(l *Leader) Check {
	view := l.View()
	if count := view.FaultCount(); count > 0 {
		first := view.FirstFaults()[0]
		return Check{"decodability", false, fmt.Sprintf("%d of %d mementos cannot be used, the first is %s: %s; put or delete them", count, count+view.Len(), first.Name, first.Fault)}
	}
	return Check{"decodability", true, fmt.Sprintf("all %d mementos can be used", view.Len())}
}
