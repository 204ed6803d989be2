package etcdstore

import (
	"context"
	"fmt"
	"math"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/coordinator"
)

// This file holds what an operator changes in a plane through any of its nodes,
// without a term.

// Writable sends a put behind a comparison that never holds: etcd looks all the
// same whether there is room for it, and whether it is allowed.
func (s *Store) Writable(ctx context.Context) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	_, err := s.client.Txn(ctx).
		If(clientv3.Compare(clientv3.Version(s.keys.term()), "<", 0)).
		Then(clientv3.OpPut(s.keys.term(), "")).
		Commit()
	if err != nil {
		return fmt.Errorf("see whether the store takes writes: %w", translate(err))
	}
	return nil
}

// Pause puts p in force. One that ends by itself hangs on a lease of its own.
func (s *Store) Pause(ctx context.Context, p coordinator.Pause) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	var options []clientv3.OpOption
	if p.Until != nil {
		seconds := int64(math.Ceil(time.Until(*p.Until).Seconds()))
		lease, err := s.client.Grant(ctx, max(seconds, 1))
		if err != nil {
			return fmt.Errorf("obtain a lease for the pause: %w", translate(err))
		}
		options = append(options, clientv3.WithLease(lease.ID))
	}
	if _, err := s.client.Put(ctx, s.keys.pause(), encodeJSON(p), options...); err != nil {
		return fmt.Errorf("write pause: %w", translate(err))
	}
	return nil
}

// Resume ends a pause. Without one it changes nothing.
func (s *Store) Resume(ctx context.Context) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	if _, err := s.client.Delete(ctx, s.keys.pause()); err != nil {
		return fmt.Errorf("delete pause: %w", translate(err))
	}
	return nil
}

// Forget deletes what is kept of a node that left.
func (s *Store) Forget(ctx context.Context, node string) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	resp, err := s.client.Delete(ctx, s.keys.leftNode(node))
	if err != nil {
		return fmt.Errorf("forget node %s: %w", node, translate(err))
	}
	if resp.Deleted == 0 {
		return fmt.Errorf("%w among those that left: %s", coordinator.ErrNoNode, node)
	}
	return nil
}
