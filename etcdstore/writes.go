package etcdstore

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
)

// This file says which keys a node writes. All nodes read everything in the plane. etcd
// enforces it if its auth is enabled and nodes have the roles of package etcdauth: then a
// node in mode hot_backup cannot lead, whatever it does.

// written returns the spans that a node writes in a mode; an empty node stands for any.
//
//   - its own record, and what is kept of itself when it has left: every node that is
//     in the plane
//   - what is kept of others, a pause, the election, the term, and all that is written
//     in a term: the nodes that may be promoted
//   - the guard and the state, and no more: a disabled node
func (k keys) written(mode modes.Mode, node string) []span {
	if mode == modes.Disabled {
		return []span{single(k.guard()), single(k.meta()), prefixed(k.mementos())}
	}
	record, left := prefixed(k.nodes()), prefixed(k.left())
	if node != "" {
		record = single(k.node(node))
	}
	if !mode.Promotable() {
		if node != "" {
			left = single(k.leftNode(node))
		}
		return []span{record, left}
	}
	return []span{
		record, left, single(k.pause()),
		prefixed(k.election()), single(k.term()), single(k.meta()), prefixed(k.mementos()),
		prefixed(k.history()), single(k.handover()),
	}
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
