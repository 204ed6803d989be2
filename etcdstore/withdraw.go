package etcdstore

// This file is how a candidate gets out of its place: to the end of the queue, or out of
// the election, by its key or by its lease.

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/retry"
)

// leaveFor bounds the tries to delete an election key.
const leaveFor = 2 * callTimeout

// during returns a context for one call of a candidate: it is bounded, and ends with the
// presence.
func (m *presence) during(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := m.store.bound(ctx)
	stop := context.AfterFunc(m.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

func (m *presence) candidateKey() string { return m.store.keys.candidate(m.id) }

// deleteKey deletes the own election key, whichever revision made it, and reports whether
// there was one, and the store's revision then. It deletes the candidacy that it has seen
// and no other: what it sends may arrive when the key is another's, which may even lead by
// then. It returns [driver.ErrChanged] if the given comparisons do not hold: then the key
// stays.
func (m *presence) deleteKey(ctx context.Context, also ...clientv3.Cmp) (deleted bool, at int64, err error) {
	key := m.candidateKey()
	found, err := m.store.client.Get(ctx, key, clientv3.WithKeysOnly())
	if err != nil {
		return false, 0, fmt.Errorf("delete election key: %w", translate(err))
	}
	if len(found.Kvs) == 0 {
		return false, found.Header.Revision, nil
	}
	resp, err := m.store.client.Txn(ctx).
		If(append(also, createdAt(key, found.Kvs[0].CreateRevision))...).
		Then(clientv3.OpDelete(key)).
		Commit()
	switch {
	case err != nil:
		return false, 0, fmt.Errorf("delete election key: %w", translate(err))
	case !resp.Succeeded:
		return false, 0, driver.ErrChanged
	default:
		return true, resp.Header.Revision, nil
	}
}

// Requeue leaves the queue for its end. The key stays if the term has been given meanwhile,
// which may be to this very key.
func (c *candidacy) Requeue(ctx context.Context) error {
	m := c.m
	ctx, cancel := m.during(ctx)
	defer cancel()
	_, at, err := m.deleteKey(ctx, modifiedAt(m.store.keys.term(), c.recorded))
	if err != nil {
		return err
	}
	if ended, _ := m.queue.ended(); ended {
		m.noteDoubt(m.queue)
	}
	m.leaveQueue()
	m.enqueue(at, c.wake)
	return nil
}

// Leave leaves the election, and returns once the key is known to be gone or the presence
// is over. A key whose creation is in doubt, and which is not there to be deleted, could
// still appear: then the lease has to go. The lease has to go as well where the key cannot
// be deleted, whatever the reason: nobody else's turn comes while it is there.
func (c *candidacy) Leave(ctx context.Context, why error) error {
	c.stop()
	m := c.m
	before := m.doubt
	limit, cancel := context.WithTimeout(ctx, leaveFor)
	defer cancel()
	defer context.AfterFunc(m.ctx, cancel)()
	if err := m.endWait(limit); err != nil {
		m.end(fmt.Errorf("%w: given up, since its candidacy cannot be: %w: %w", driver.ErrLeaseLost, err, why))
		return m.Cause()
	}
	for pause := retry.NewBackoff(maxPause); m.live(); {
		try, done := context.WithTimeout(limit, callTimeout)
		deleted, _, err := m.deleteKey(try)
		done()
		switch {
		case err != nil && (limit.Err() != nil || errors.Is(err, driver.ErrDenied)):
			m.end(fmt.Errorf("%w: given up, since its candidacy cannot be: %w: %w", driver.ErrLeaseLost, err, why))
			return m.Cause()
		case err != nil:
			m.store.log.Warn("election key not deleted, retrying", zap.Error(err))
			_ = retry.Wait(limit, pause.Next())
			continue
		case m.doubt && (before || !deleted):
			m.end(fmt.Errorf("%w: given up, since it is not known whether its candidacy exists: %w", driver.ErrLeaseLost, why))
			return m.Cause()
		}
		m.doubt = false
		return nil
	}
	return m.Cause()
}

// endWait ends the wait in the election, if there is one, and blocks until it has ended.
func (m *presence) endWait(ctx context.Context) error {
	q := m.queue
	if q == nil {
		return nil
	}
	m.queue = nil
	q.cancel()
	select {
	case <-q.done:
		m.noteDoubt(q)
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
