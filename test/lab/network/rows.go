package network

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/test/lab/fleet"
	"github.com/coordinator-ha/coordinator/test/lab/wire"
)

// TTLs of planes: one with which masters change quickly, the command's default, with which
// a change of etcd's leader need not cost the master its term, and one that survives bad
// lines.
const (
	quick   = 2 * time.Second
	steady  = 6 * time.Second
	longest = 10 * time.Second
)

// Rows returns the rows of the fault matrix about the network.
func Rows() []*Row {
	drop := wire.Rule{Drop: true}
	return []*Row{
		{9, "in flight", quick, false, 0, inFlight},
		{15, "cut off", quick, true, 0, deposed(drop, drop, 0)},
		{16, "rejected", quick, true, 0, deposed(wire.Rule{Reject: true}, wire.Rule{Reject: true}, 20)},
		{16, "unreachable", quick, true, 0, deposed(wire.Rule{Unreachable: true}, wire.Rule{Unreachable: true}, 20)},
		{17, "answers lost", quick, true, 0, deposed(wire.Rule{}, drop, 0)},
		{18, "requests lost", quick, true, 0, deposed(drop, wire.Rule{}, 0)},
		{19, "slow, short lease", quick, false, 0, undisturbed(members, wire.Rule{Delay: 250 * time.Millisecond})},
		{19, "slow", steady, true, 3 * time.Second, undisturbed(members, wire.Rule{Delay: 250 * time.Millisecond})},
		{20, "lossy", steady, true, 0, lossy},
		{20, "lossy, long lease", longest, false, 0, undisturbed(members, wire.Rule{Loss: 0.3})},
		{21, "backup cut off", steady, false, 0, backupCutOff},
		{22, "one member cut off", steady, true, 3 * time.Second, undisturbed(members[:1], drop)},
		{23, "flapping", steady, false, 0, flapping},
		{24, "leader alone", steady, true, 0, leaderAlone},
	}
}

// deposed is a row that cuts the master off from etcd: it stops by its own clock, another
// node leads, and it rejoins when it can. The rules are those for requests and for answers;
// tries is how often per second it may try to connect, 0 if that is not measured.
func deposed(requests, answers wire.Rule, tries float64) func(context.Context, *harm) error {
	return func(ctx context.Context, h *harm) error {
		ttl, old := h.cfg.TTL, h.master
		limit := failover(ttl)
		if requests == (wire.Rule{}) { // its renewals keep its lease alive until it stops
			limit += ttl - margin(ttl)
		}
		heal := h.strike(old.ID, limit, stretch{[]string{old.ID}, members, requests}, stretch{members, []string{old.ID}, answers})
		err := h.succeeded(ctx, limit)
		lasted := h.since()
		opened := float64(h.counts().Opening-h.before.Opening) / lasted.Seconds()
		if tries > 0 {
			h.note("%.1f attempts to connect a second", opened)
		}
		if tries > 0 && opened > tries {
			err = errors.Join(err, fmt.Errorf("%.1f attempts to connect a second, at most %.0f are sane", opened, tries))
		}
		if err := errors.Join(err, heal()); err != nil {
			return err
		}
		return h.soon(ctx, "rejoined", lasted+election+ttl+promotion+2*time.Second, func(ctx context.Context) error { return is(ctx, old, "HOT_STANDBY") })
	}
}

// succeeded waits until the master has stopped, neither too late nor too early, and another
// node leads, and then for a TTL in which nothing else may happen.
func (h *harm) succeeded(ctx context.Context, limit time.Duration) error {
	ttl, old := h.cfg.TTL, h.master
	if err := h.soon(ctx, "stopped", ttl-margin(ttl)+slack, func(ctx context.Context) error { return not(ctx, old, "MASTER") }); err != nil {
		return err
	}
	// The last renewal that was answered is no older than a third of the TTL.
	if at, least := h.since(), ttl-margin(ttl)-ttl/3-slack; at < least {
		return fmt.Errorf("gave up after %s, it had at least %s", at, least)
	}
	err := h.soon(ctx, "new master", limit, func(ctx context.Context) error {
		next, err := h.AwaitMaster(ctx, 200*time.Millisecond)
		if err == nil && next == old {
			err = fmt.Errorf("%s leads, which is cut off", old.ID)
		}
		return err
	})
	return errors.Join(err, pause(ctx, ttl))
}

// undisturbed is a row in which nothing happens to the plane for two TTLs.
func undisturbed(of []string, r wire.Rule) func(context.Context, *harm) error {
	return func(ctx context.Context, h *harm) error {
		heal := h.strike(h.master.ID, 0, both([]string{h.master.ID}, of, r)...)
		return errors.Join(pause(ctx, 2*h.cfg.TTL), h.sameTerm(ctx), heal())
	}
}

// lossy may cost the master its term once.
func lossy(ctx context.Context, h *harm) error {
	heal := h.strike(h.master.ID, failover(h.cfg.TTL), both([]string{h.master.ID}, members, wire.Rule{Loss: 0.3})...)
	err := pause(ctx, 2*h.cfg.TTL)
	if h.sameTerm(ctx) != nil {
		h.note("it cost the master its term")
	}
	return errors.Join(err, heal())
}

// sameTerm checks that the master is unchanged, in the same term.
func (h *harm) sameTerm(ctx context.Context) error {
	s, err := h.master.State(ctx)
	if err == nil && (s.State != "MASTER" || s.Term != h.term) {
		err = fmt.Errorf("%s is %s in term %d, it was MASTER in term %d", h.master.ID, s.State, s.Term, h.term)
	}
	return err
}

// backupCutOff checks that the backup shows how old its copy is, and catches up.
func backupCutOff(ctx context.Context, h *harm) error {
	for _, r := range []wire.Rule{{Drop: true}, {Loss: 0.3}, {Delay: 500 * time.Millisecond, Jitter: 200 * time.Millisecond}} {
		heal := h.strike(backup, 0, both([]string{backup}, members, r)...)
		err := pause(ctx, h.cfg.TTL+2*time.Second)
		if err == nil {
			err = h.stale(ctx, r.Drop)
		}
		if err := errors.Join(err, h.sameTerm(ctx), heal()); err != nil {
			return err
		}
		if err := h.caughtUp(ctx, h.since()+2*time.Second+promotion); err != nil {
			return err
		}
	}
	return nil
}

// stale checks what the backup says about its copy.
func (h *harm) stale(ctx context.Context, cut bool) error {
	s, err := h.Node(backup).State(ctx)
	switch {
	case err != nil:
		return err
	case s.Mirror == nil || s.State != "HOT_BACKUP":
		return fmt.Errorf("%s has no copy, it is %s", backup, s.State)
	}
	age := time.Duration(s.Mirror.StalenessMS) * time.Millisecond
	h.note("copy %s old", age)
	if cut && (age < h.since()-2*time.Second || age > h.since()+2*time.Second) {
		return fmt.Errorf("the copy is said to be %s old, it was cut off %s ago", age, h.since())
	}
	return nil
}

// caughtUp waits until the backup has what the store has now.
func (h *harm) caughtUp(ctx context.Context, limit time.Duration) error {
	resp, err := h.Store().Get(ctx, "any", clientv3.WithCountOnly())
	if err != nil {
		return fmt.Errorf("read the store's revision: %w", err)
	}
	head := resp.Header.Revision
	return h.soon(ctx, "caught up", limit, func(ctx context.Context) error {
		s, err := h.Node(backup).State(ctx)
		if err == nil && (s.Mirror == nil || s.Mirror.Revision < head) {
			err = fmt.Errorf("%s is not at revision %d", backup, head)
		}
		return err
	})
}

// flapping cuts the master off for a second again and again, never long enough to cost it
// its term.
func flapping(ctx context.Context, h *harm) error {
	for range 30 {
		heal := h.strike(h.master.ID, 0, both([]string{h.master.ID}, members, wire.Rule{Drop: true})...)
		if err := errors.Join(pause(ctx, time.Second), heal(), pause(ctx, time.Second), h.sameTerm(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// leaderAlone cuts etcd's leader off from the other members.
func leaderAlone(ctx context.Context, h *harm) error {
	leader, err := h.Leader(ctx, whole(h.cfg.TTL))
	if err != nil {
		return err
	}
	others := slices.DeleteFunc(slices.Clone(members), func(m string) bool { return m == leader.Name })
	limit := h.cfg.TTL + election + 2*time.Second + promotion + time.Second
	heal := h.strike(leader.Name, limit, both([]string{leader.Name}, others, wire.Rule{Drop: true})...)
	err = errors.Join(
		h.soon(ctx, "new leader of etcd", 5*election, func(ctx context.Context) error { return h.led(ctx, others) }),
		h.soon(ctx, "writes again", limit, h.answered(h.Acknowledged())),
		pause(ctx, h.cfg.TTL),
	)
	return errors.Join(err, heal())
}

// answered checks that clients have received more than that many answers.
func (h *harm) answered(before int) func(context.Context) error {
	return func(context.Context) error {
		if n := h.Acknowledged() - before; n < enough {
			return fmt.Errorf("clients were answered %d times", n)
		}
		return nil
	}
}

// led checks that all of some members follow one of them.
func (h *harm) led(ctx context.Context, some []string) error {
	var leads bool
	var leaders []uint64
	for _, m := range h.Members {
		if !slices.Contains(some, m.Name) {
			continue
		}
		status, err := h.Store().Status(ctx, m.Endpoint())
		if err != nil {
			return fmt.Errorf("ask %s: %w", m.Name, err)
		}
		leads = leads || status.Leader == status.Header.MemberId
		leaders = append(leaders, status.Leader)
	}
	if leaders = slices.Compact(leaders); !leads || len(leaders) > 1 {
		return fmt.Errorf("they follow %x", leaders)
	}
	return nil
}

// inFlight freezes the master while its writes are on their way, until another node leads
// before they arrive. They are writes of mementos that nobody else writes, so that only the
// fence can refuse them.
func inFlight(ctx context.Context, h *harm) error {
	ttl, old := h.cfg.TTL, h.master
	late := ttl + 3*time.Second
	var writers sync.WaitGroup
	defer writers.Wait()
	for i := range 4 {
		writers.Go(func() { h.writeUntilLate(ctx, fmt.Sprint("late", i)) })
	}
	err := pause(ctx, 300*time.Millisecond)
	heal := h.strike(old.ID, failover(ttl), stretch{[]string{old.ID}, members, wire.Rule{Delay: late}})
	if err == nil {
		err = pause(ctx, 100*time.Millisecond) // one of each writer is in progress
	}
	if err == nil {
		err = old.Process().Freeze(ctx)
	}
	if err == nil {
		err = h.soon(ctx, "new master", failover(ttl)+300*time.Millisecond, func(ctx context.Context) error {
			_, err := h.AwaitMaster(ctx, 200*time.Millisecond)
			return err
		})
	}
	if err == nil {
		err = pause(ctx, late-h.since()+time.Second) // until all that was sent has arrived
	}
	err = errors.Join(err, old.Process().Thaw(ctx))
	woke := h.since()
	if err := errors.Join(err, heal()); err != nil {
		return err
	}
	return h.soon(ctx, "stopped", woke+time.Second, func(ctx context.Context) error { return not(ctx, old, "MASTER") })
}

// writeUntilLate writes one memento after the other through the master, until a write is
// not acknowledged.
func (h *harm) writeUntilLate(ctx context.Context, writer string) {
	for n := 0; ctx.Err() == nil; n++ {
		if !h.Write(ctx, fmt.Sprint(writer, "-", n), h.master, fmt.Sprint("late/", writer, "-", n)) {
			return
		}
	}
}

// is checks that a node is in a state, or that it is not.
func is(ctx context.Context, n *fleet.Node, state string) error {
	s, err := n.State(ctx)
	if err == nil && s.State != state {
		err = fmt.Errorf("%s is %s", n.ID, s.State)
	}
	return err
}

func not(ctx context.Context, n *fleet.Node, state string) error {
	s, err := n.State(ctx)
	if err == nil && s.State == state {
		err = fmt.Errorf("%s is %s", n.ID, s.State)
	}
	return err
}
