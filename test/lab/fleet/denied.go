package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// Ranked are three nodes that may lead, the best first.
func Ranked() []NodeConfig {
	return []NodeConfig{
		{ID: "a", Mode: "auto", Args: []string{"--priority", "3"}},
		{ID: "b", Mode: "auto", Args: []string{"--priority", "2"}},
		{ID: "c", Mode: "auto", Args: []string{"--priority", "1"}},
	}
}

// DenyCandidates runs a fleet whose etcd requires authentication. Twice the master is
// killed when the node that would follow has lost the right to write one of the keys that a
// new master writes: then the third has to lead. The nodes are [Ranked].
func DenyCandidates(ctx context.Context, cfg Config) (Report, error) {
	cfg.Guarded = true
	f, err := Start(ctx, cfg)
	if err != nil {
		return Report{}, err
	}
	f.Work(ctx)
	chance := stream(cfg.Seed, "denied")
	keys := []string{"term", []string{"election/", "history/"}[chance.IntN(2)]}
	chance.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	for _, key := range keys {
		if err == nil {
			err = f.denied(ctx, key)
		}
	}
	report, told := f.Finish(ctx)
	return report, errors.Join(err, told, f.Close())
}

// denied is one round.
func (f *Fleet) denied(ctx context.Context, key string) error {
	if err := f.peace(ctx, time.Second); err != nil {
		return err
	}
	leader, err := f.soleMaster(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	next := f.Nodes[0]
	if next == leader {
		next = f.Nodes[1]
	}
	limit := f.cfg.TTL + time.Second + driver.StallLimit(f.cfg.TTL) + slack
	began := f.Now()
	undo, err := f.deny(ctx, next.ID, key)
	if err != nil {
		return err
	}
	killed := f.Now()
	leader.Process().Kill()
	leads, err := f.AwaitMaster(ctx, limit)
	took := f.Now() - killed
	f.NoteFault(evidence.Fault{
		What: "deny-hot", Target: next.ID, From: began, To: f.Now(), Detail: key,
		Disturbing: key == "history/", Limit: limit, // it begins a term and cannot announce itself
	})
	f.NoteFault(evidence.Fault{What: "kill-master", Target: leader.ID, From: killed, To: f.Now(), Disturbing: true, Limit: limit})
	f.cfg.Logger.Info("candidate denied", zap.String("node", next.ID), zap.String("key", key), zap.Duration("took", took), zap.Error(err))
	switch {
	case err != nil:
		f.complain("I-28: %s is dead, %s may not write %s, and nobody leads: %v", leader.ID, next.ID, key, err)
	case leads == next:
		f.complain("I-28: %s leads, though it may not write %s", next.ID, key)
	case !next.says("does not permit"):
		f.complain("I-28: %s does not say that etcd does not permit it to write %s", next.ID, key)
	}
	if err := errors.Join(undo(ctx), leader.Start()); err != nil {
		return err
	}
	return f.recover(ctx)
}

// says reports whether the node has given a reason with these words, in any run.
func (n *Node) says(words string) bool {
	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()
	for _, p := range n.fleet.runs[n.ID] {
		for _, e := range p.story().said {
			if strings.Contains(e.Error, words) {
				return true
			}
		}
	}
	return false
}
