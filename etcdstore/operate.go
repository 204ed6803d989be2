package etcdstore

import (
	"context"
	"fmt"
	"math"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file makes the changes that an operator makes to a plane through any of its nodes, which
// need no term, and asks whether etcd takes what a node writes.

// Pause puts p in force. If it has an end, it is put on a lease of its own that lasts at least
// as long.
func (s *Store) Pause(ctx context.Context, p driver.Pause) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	options := []clientv3.OpOption{clientv3.WithPrevKV()}
	if p.Until != nil {
		seconds := int64(math.Ceil(time.Until(*p.Until).Seconds()))
		lease, err := s.client.Grant(ctx, max(seconds, 1))
		if err != nil {
			return fmt.Errorf("obtain a lease for the pause: %w", translate(err))
		}
		options = append(options, clientv3.WithLease(lease.ID))
	}
	resp, err := s.client.Put(ctx, s.keys.pause(), encodeJSON(p), options...)
	if err != nil {
		return fmt.Errorf("write pause: %w", unsettled(err))
	}
	s.release(ctx, resp.PrevKv)
	return nil
}

// Resume ends a pause. Without one it changes nothing.
func (s *Store) Resume(ctx context.Context) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	resp, err := s.client.Delete(ctx, s.keys.pause(), clientv3.WithPrevKV())
	if err != nil {
		return fmt.Errorf("delete pause: %w", unsettled(err))
	}
	s.release(ctx, resp.PrevKvs...)
	return nil
}

// release revokes the leases of keys that are no longer there.
func (s *Store) release(ctx context.Context, gone ...*mvccpb.KeyValue) {
	for _, kv := range gone {
		if kv == nil || kv.Lease == 0 {
			continue
		}
		if err := s.revoke(ctx, clientv3.LeaseID(kv.Lease)); err != nil {
			s.log.Debug("lease of a former key not revoked, leaving it to lapse", zap.Error(err))
		}
	}
}

// Forget deletes what is kept of a node that departed.
func (s *Store) Forget(ctx context.Context, node string) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	resp, err := s.client.Delete(ctx, s.keys.leftNode(node), clientv3.WithPrevKV())
	switch {
	case err != nil:
		return fmt.Errorf("forget node %s: %w", node, unsettled(err))
	case resp.Deleted == 0:
		return fmt.Errorf("%w among those that left: %s", driver.ErrNoNode, node)
	}
	s.release(ctx, resp.PrevKvs...)
	return nil
}

// unsettled is translate for a write whose outcome nobody looks up: unless it certainly failed
// it may have happened. It is safe to repeat.
func unsettled(err error) error {
	if notApplied(err) {
		return translate(err)
	}
	return fmt.Errorf("%w: %w", rebind.ErrUnknown, err)
}

// Writable sends what the node of r writes in its mode behind a comparison that never
// holds: etcd checks all the same whether it is permitted, and whether there is room.
func (s *Store) Writable(ctx context.Context, r driver.Record) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	spans := s.keys.written(r.Mode, r.ID)
	if r.Mode == modes.Disabled && r.State == modes.StateFailed {
		spans = []span{single(s.keys.leftNode(r.ID))} // it was disabled while it ran, and took no guard
	}
	// The first span is of one key. It stands for all as to the room for a put.
	writes := []clientv3.Op{clientv3.OpPut(spans[0].from, "")}
	for _, sp := range spans[1:] {
		writes = append(writes, sp.delete())
	}
	_, err := s.client.Txn(ctx).If(s.keys.never()).Then(writes...).Commit()
	if err != nil {
		return fmt.Errorf("see whether the store takes this node's writes: %w", s.access.explain(ctx, s.client, s.access.meaning(err)))
	}
	return nil
}
