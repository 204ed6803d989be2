package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// harm is one step in progress.
type harm struct {
	*Fleet
	step    Step
	node    *Node // its target, where it is a node
	members []*Member
	fault   evidence.Fault
}

var (
	// errNobody means that a step is skipped: nobody has the role that it is for.
	errNobody = errors.New("nobody has that role now")
	// ErrInvalid is returned for a run that proves nothing.
	ErrInvalid  = errors.New("invalid run")
	errTooQuiet = fmt.Errorf("%w: too few operations before a fault", ErrInvalid)
)

// enough is how many operations must have been acknowledged since the fault before: a fault
// in an idle plane proves nothing.
const enough = 20

// Execute executes the plan until its end or until the time is over, and lets the plane
// recover after each step. A plane that does not recover is reported and ends it.
func (f *Fleet) Execute(ctx context.Context, p Plan, length time.Duration) error {
	end := f.Now() + length
	for i := 0; i < len(p.Steps) && f.Now() < end; {
		next := i + 1
		for next < len(p.Steps) && p.Steps[next].Together {
			next++
		}
		if err := f.peace(ctx, p.Steps[i].Wait); err != nil {
			return err
		}
		if err := f.together(ctx, p.Steps[i:next]); err != nil {
			return err
		}
		if err := f.recover(ctx); ctx.Err() != nil {
			return err
		} else if err != nil {
			f.complain("I-28: after %v: %v", p.Steps[i:next], err)
			return nil
		}
		i = next
	}
	return nil
}

// peace lets the clients work for a while, and checks that they do.
func (f *Fleet) peace(ctx context.Context, d time.Duration) error {
	before := f.Acknowledged()
	if err := pause(ctx, d); err != nil {
		return err
	}
	return await(ctx, slack, func(context.Context) error {
		if n := f.Acknowledged() - before; n < enough {
			return fmt.Errorf("%w: %d in %s", errTooQuiet, n, d)
		}
		return nil
	})
}

// Acknowledged counts the operations that were acknowledged to clients.
func (f *Fleet) Acknowledged() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.okays
}

// together executes the steps of one group, each starting after the one before it, and
// waits for all.
func (f *Fleet) together(ctx context.Context, steps []Step) error {
	var group sync.WaitGroup
	errs := make([]error, len(steps))
	for i, s := range steps {
		if i > 0 {
			if err := pause(ctx, s.Wait); err != nil {
				errs[i] = err
				break
			}
		}
		h := &harm{Fleet: f, step: s}
		if err := h.choose(ctx); err != nil {
			f.cfg.Logger.Info("step skipped", zap.String("what", s.What), zap.String("on", s.On), zap.Error(err))
			continue
		}
		group.Go(func() { errs[i] = h.run(ctx) })
	}
	group.Wait()
	f.release()
	return errors.Join(errs...)
}

// run executes the step and records it.
func (h *harm) run(ctx context.Context) error {
	k := kinds()[h.step.What]
	h.fault = evidence.Fault{
		What: h.step.What + "-" + h.step.On, Target: h.target(), From: h.Now(),
		Disturbing: k.mayCost(h.step, h.cfg.TTL), Limit: k.limit(h.step, h.cfg.TTL),
	}
	err := h.do(ctx, k)
	h.fault.To = h.Now()
	h.cfg.Logger.Info("fault", zap.String("what", h.fault.What), zap.String("on", h.fault.Target),
		zap.Duration("at", h.fault.From), zap.Duration("for", h.fault.To-h.fault.From), zap.String("detail", h.fault.Detail), zap.Error(err))
	switch {
	case errors.Is(err, errNobody):
		return nil
	case err != nil:
		return fmt.Errorf("%w: %s on %s: %w", ErrInvalid, h.fault.What, h.fault.Target, err)
	}
	h.NoteFault(h.fault)
	return nil
}

// goOn begins the next part of a step with several parts, each a fault of its own: it
// records the part before, and run records the last.
func (h *harm) goOn(part int, target string) {
	if part > 0 {
		h.fault.To = h.Now()
		h.NoteFault(h.fault)
	}
	h.fault.Target, h.fault.From = target, h.Now()
}

// do performs the step, in a storm of writes if it may end a term.
func (h *harm) do(ctx context.Context, k kind) error {
	if !h.fault.Disturbing {
		return k.do(h, ctx)
	}
	calm, err := h.storm(ctx)
	defer calm()
	if err != nil {
		return err
	}
	h.fault.From = h.Now()
	return k.do(h, ctx)
}

func (h *harm) target() string {
	switch {
	case h.node != nil:
		return h.node.ID
	case len(h.members) > 0 && h.step.On != onAll:
		names := ""
		for _, m := range h.members {
			names += m.Name
		}
		return names
	default:
		return h.step.On
	}
}

// choose finds who has the role that the step is for and is not hit by another step.
func (h *harm) choose(ctx context.Context) error {
	switch h.step.On {
	case onPlane:
		return nil
	case onLeader, onFollower, onQuorum:
		return h.chooseMembers(ctx)
	case onAll:
		h.members = h.Members
		return nil
	}
	state := map[string]string{onMaster: master, onPair: master, onHot: "HOT_STANDBY", onCold: "STANDBY", onBackup: "HOT_BACKUP"}[h.step.On]
	for _, n := range h.Nodes {
		if !n.up() || slices.Contains(h.harmed, n) {
			continue
		}
		if s, err := n.State(ctx); err == nil && s.State == state {
			h.node, h.harmed = n, append(h.harmed, n)
			return nil
		}
	}
	return errNobody
}

func (h *harm) chooseMembers(ctx context.Context) error {
	leader, err := h.Leader(ctx, slack)
	if err != nil {
		return fmt.Errorf("%w: %w", errNobody, err)
	}
	followers := slices.DeleteFunc(slices.Clone(h.Members), func(m *Member) bool { return m == leader })
	switch h.step.On {
	case onLeader:
		h.members = []*Member{leader}
	case onFollower:
		h.members = followers[:1]
	default:
		h.members = []*Member{leader, followers[0]}
	}
	return nil
}

// release frees the step's targets.
func (f *Fleet) release() { f.harmed = nil }

// recover waits until the plane has a master and all nodes serve. The judge decides whether
// that took too long.
func (f *Fleet) recover(ctx context.Context) error {
	if _, err := f.AwaitMaster(ctx, waitLimit); err != nil {
		return err
	}
	for _, n := range f.Nodes {
		if err := n.AwaitServing(ctx, waitLimit); err != nil {
			return err
		}
	}
	return nil
}

// pause waits for a time.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait: %w", ctx.Err())
	}
}
