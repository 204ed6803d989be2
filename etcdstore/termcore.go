package etcdstore

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file is what every term has: what it rests on, how it ends, and how it clears the
// state. term.go has the term of a shared plane, exclusive.go the one of a disabled node.

// termCore is what every term has; see [driver.AnyTerm].
type termCore struct {
	m          *presence
	number     int64
	planeID    string
	recorded   int64       // the revision at which the term began
	conditions []condition // what it rests on
	ctx        context.Context
	over       context.CancelCauseFunc
}

// condition is a key that a term rests on, in the revision that created it or, if
// that is 0, in the one that last modified it.
type condition struct {
	key               string
	created, modified int64
}

// holds reports whether the key is as it was.
func (c *condition) holds(kvs []*mvccpb.KeyValue) bool {
	switch {
	case len(kvs) != 1:
		return false
	case c.created != 0:
		return kvs[0].CreateRevision == c.created
	default:
		return kvs[0].ModRevision == c.modified
	}
}

// newTermCore makes one that ends with the presence.
func newTermCore(m *presence, number int64, conditions ...condition) *termCore {
	t := &termCore{m: m, number: number, conditions: conditions}
	t.ctx, t.over = context.WithCancelCause(m.store.ctx)
	m.store.group.Go(func() {
		select {
		case <-m.ctx.Done():
			t.over(fmt.Errorf("%w: %w", driver.ErrTermOver, m.Cause()))
		case <-t.ctx.Done():
		}
	})
	return t
}

// watch ends the term when somebody deletes or replaces what it rests on: lost
// then says what. The fence would find out with the next write; a master that
// writes nothing should know as well.
func (t *termCore) watch(lost func(*picture) string) {
	own := t.conditions[len(t.conditions)-1].key
	t.m.store.watchHolder(t.ctx, own, func(p *picture) bool {
		if why := lost(p); why != "" {
			t.over(fmt.Errorf("%w: %s", driver.ErrTermOver, why))
		}
		return t.ctx.Err() == nil
	})
}

// Number is the fencing token.
func (t *termCore) Number() int64 { return t.number }

// PlaneID is the id of the plane as the term began.
func (t *termCore) PlaneID() string { return t.planeID }

// Revision is the one at which the term began.
func (t *termCore) Revision() rebind.Revision { return rebind.Revision(t.recorded) }

// Context ends with the term.
func (t *termCore) Context() context.Context { return t.ctx }

// acting returns nil while this node may act as master by its own clock.
func (t *termCore) acting() error {
	if t.m.live() && t.ctx.Err() == nil {
		return nil
	}
	if t.ctx.Err() == nil { // the lease has just ended: the term does before anybody is told
		t.over(fmt.Errorf("%w: %w", driver.ErrTermOver, t.m.Cause()))
	}
	return fmt.Errorf("%w: %w", driver.ErrClosed, context.Cause(t.ctx))
}

// Clear deletes all mementos and returns the revision at which they are gone.
func (t *termCore) Clear(ctx context.Context) (rebind.Revision, error) {
	sp := prefixed(t.m.store.keys.mementos())
	revision, err := t.write(ctx, fencedTxn{ops: []clientv3.Op{clientv3.OpDelete(sp.from, clientv3.WithRange(sp.to))}})
	if err != nil {
		return 0, fmt.Errorf("delete all mementos: %w", err)
	}
	return rebind.Revision(revision), nil
}

// Commit makes writes; see [driver.Writer].
func (t *termCore) Commit(ctx context.Context, writes []driver.Write) (rebind.Revision, error) {
	w, err := mementoTxn(t, writes)
	if err != nil {
		return 0, err
	}
	revision, err := t.write(ctx, w)
	if err != nil {
		return 0, err
	}
	return rebind.Revision(revision), nil
}
