package coordinator

import (
	"context"
	"errors"
	"fmt"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/policy"
	"github.com/coordinator-ha/coordinator/modes"
)

// Check is one thing that a handover depends on, as it is now.
type Check struct {
	Name   string
	OK     bool
	Reason string
}

// CheckHandover looks at everything that a handover from this node to the candidate to,
// or to the best one if to is empty, depends on, and changes nothing. It returns
// [ErrNotMaster] on another node than the master, and [driver.ErrRefused] on a disabled one.
func (n *Node) CheckHandover(ctx context.Context, to string) ([]Check, error) {
	l := n.announced()
	if l == nil {
		return nil, ErrNotMaster
	}
	p, err := n.Plane(ctx)
	if err != nil {
		return nil, err
	}
	if to == "" {
		to, _ = policy.Next(p)
	}
	target, live := p.Member(to)
	allowed := l.reign.CheckHandover(ctx, target)
	if errors.Is(allowed, driver.ErrRefused) {
		return nil, allowed
	}
	checks := []Check{
		n.checkMaster(),
		checkLive(to, live),
		checkMode(target, live),
		n.checkState(target, live),
		checkRank(p, to),
		checkMirror(target, live, l),
		checkContent(l),
	}
	permission := Check{Name: "permission", OK: true, Reason: "the store lets this node make the writes of a handover"}
	if allowed != nil {
		permission.OK, permission.Reason = false, allowed.Error()
	}
	return append(checks, permission), nil
}

func (n *Node) checkMaster() Check {
	s := n.Status()
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

func (n *Node) checkState(m driver.Member, live bool) Check {
	c := Check{Name: "state", Reason: "no live node to look at"}
	switch able, why := policy.Promotable(m); {
	case !live:
	case m.ID == n.cfg.ID:
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
