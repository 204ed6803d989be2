package etcdstore

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/retry"
)

// This file is how a candidate leaves the election: by its key, or by its lease.

// withdrawFor bounds the tries to delete an election key.
const withdrawFor = 2 * callTimeout

// deleteKey deletes the own election key, whichever revision made it, and reports
// whether there was one. It deletes the candidacy that it has seen and no other: what
// it sends may arrive when the key is another's, which may even lead by then. If the
// given comparisons do not hold the key stays.
func (m *membership) deleteKey(ctx context.Context, also ...clientv3.Cmp) (deleted bool, err error) {
	ctx, cancel := m.store.bound(ctx)
	defer cancel()
	key := m.candidateKey()
	found, err := m.store.client.Get(ctx, key, clientv3.WithKeysOnly())
	if err == nil && len(found.Kvs) == 0 {
		return false, nil
	}
	if err == nil {
		var resp *clientv3.TxnResponse
		resp, err = m.store.client.Txn(ctx).
			If(append(also, createdAt(key, found.Kvs[0].CreateRevision))...).
			Then(clientv3.OpDelete(key)).
			Commit()
		if err == nil {
			return resp.Succeeded, nil
		}
	}
	return false, fmt.Errorf("delete election key: %w", translate(err))
}

func (m *membership) candidateKey() string { return m.store.keys.candidate(m.id) }

// withdraw leaves the election and returns why, once the key is known to be gone
// or the membership over. A key whose creation is in doubt, and which is not there
// to be deleted, could still appear: then the lease has to go. So it has where the key
// cannot be deleted, by whatever keeps this node from it: nobody else's turn comes while
// it is there.
func (m *membership) withdraw(why error) error {
	before := m.doubt
	limit, cancel := context.WithTimeout(m.ctx, withdrawFor)
	defer cancel()
	if err := m.endWait(limit); err != nil {
		m.end(fmt.Errorf("%w: given up, since its candidacy cannot be: %w: %w", driver.ErrLeaseLost, err, why))
		return m.Cause()
	}
	for pause := retry.NewPause(maxPause); m.live(); {
		try, done := context.WithTimeout(limit, callTimeout)
		deleted, err := m.deleteKey(try)
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
		return why
	}
	return m.Cause()
}

// endWait ends the wait in the election, if there is one, and blocks until it has ended.
func (m *membership) endWait(ctx context.Context) error {
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

// noteDoubt remembers that etcd has not answered the creation of a key: only an
// answer gives the election a revision.
func (m *membership) noteDoubt(q *queue) {
	if q.err != nil && q.election.Rev() == 0 && !notApplied(q.err) {
		m.doubt = true
	}
}
