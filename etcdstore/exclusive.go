package etcdstore

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
)

// This file is how a disabled node takes a plane for itself, and the term that it then has.
// It holds one key, guard. That key and the records of other nodes exclude each other: it is
// created by a transaction that finds no key under nodes/ and election/, and records by
// transactions that find no key guard.

// JoinExclusive takes the plane for the node of r; see [driver.Store].
func (s *Store) JoinExclusive(ctx context.Context, r driver.Record, planeID string) (driver.Presence, driver.ExclusiveTerm, error) {
	if err := s.endLastLease(ctx); err != nil {
		return nil, nil, err
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	l, err := s.grant(ctx)
	if err != nil {
		return nil, nil, err
	}
	m := &presence{lease: l, node: r.ID, key: s.keys.guard()}
	made, planeID, err := m.takePlane(ctx, r, planeID)
	if err != nil {
		l.end(driver.ErrLeaseLost)
		l.gone()                                        // nothing waits in an election under it
		s.setLastLease(lastLease{id: l.id, ours: true}) // the key may be there all the same: the next try ends it first
		return nil, nil, fmt.Errorf("take the plane: %w", err)
	}
	t := newTermCore(m, made, condition{key: m.key, created: made})
	t.recorded, t.planeID = made, planeID
	s.group.Go(func() {
		t.watch(func(p *picture) string {
			if p.guardMade != made {
				return "the key guard is gone"
			}
			return ""
		})
	})
	return m, &exclusiveTerm{t}, nil
}

// takePlane creates the key guard and returns its create revision, and the plane's id.
func (m *presence) takePlane(ctx context.Context, r driver.Record, planeID string) (int64, string, error) {
	s := m.store
	s.cfg.OnLease(int64(m.id))
	p, err := s.look(ctx)
	if err != nil {
		return 0, "", fmt.Errorf("read plane: %w", err)
	}
	planeID, writes := p.found(planeID)
	guard := clientv3.OpPut(m.key, encodeJSON(driver.Guard{Node: r.ID, URI: r.URI}), clientv3.WithLease(m.id))
	resp, err := s.client.Txn(ctx).
		If(
			prefixed(s.keys.nodes()).empty(), prefixed(s.keys.election()).empty(), single(m.key).empty(),
			modifiedAt(s.keys.meta(), p.metaMod),
		).
		Then(append(writes, guard)...).
		Else(clientv3.OpGet(m.key), clientv3.OpGet(s.keys.nodes(), clientv3.WithPrefix(), clientv3.WithLimit(1))).
		Commit()
	if err != nil {
		return 0, "", translate(err)
	}
	if resp.Succeeded {
		return resp.Header.Revision, planeID, nil
	}
	if others := resp.Responses[1].GetResponseRange().Kvs; len(others) > 0 {
		return 0, "", fmt.Errorf("%w: node %s is in this one", driver.ErrExclusive, others[0].Key[len(s.keys.nodes()):])
	}
	found := resp.Responses[0].GetResponseRange().Kvs
	if strays := p.stray(); len(found) == 0 && len(strays) > 0 {
		return 0, "", fmt.Errorf("%w: key %q %s; if nobody needs it, delete it", driver.ErrExclusive, strays[0].Key, strays[0].Why)
	}
	return 0, "", exclusiveError(found)
}

// exclusiveError is the error of a node that finds the key guard, or another node in the
// plane.
func exclusiveError(guard []*mvccpb.KeyValue) error {
	if len(guard) == 0 {
		return fmt.Errorf("%w: others are in this one, or on their way", driver.ErrExclusive)
	}
	by, err := decodeGuard(guard[0])
	if err != nil {
		return fmt.Errorf("%w: key %q %w; if nobody needs it, delete it", driver.ErrExclusive, guard[0].Key, err)
	}
	return fmt.Errorf("%w: node %s at %s has this one", driver.ErrExclusive, by.Node, by.URI)
}

// exclusiveTerm is the mastership of a disabled node.
type exclusiveTerm struct{ *termCore }

var _ driver.ExclusiveTerm = (*exclusiveTerm)(nil)

// Resign deletes the key guard, which lets other nodes in.
func (t *exclusiveTerm) Resign(ctx context.Context) error {
	if _, err := t.write(ctx, fencedTxn{ops: []clientv3.Op{clientv3.OpDelete(t.m.key)}, judge: goneIsApplied}); err != nil {
		return fmt.Errorf("give up the plane: %w", err)
	}
	t.over(fmt.Errorf("%w: given up", driver.ErrTermOver))
	return nil
}
