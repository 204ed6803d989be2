package etcdstore

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// This file waits in etcd's own queue of candidates.

// The election is etcd's own, entered under the lease of the presence, and its result is a
// hint. concurrency.Election waits for the keys before its own to vanish and does not look
// whether its own still exists, so it also "elects" a candidate whose lease has died. A
// term begins only when the term transaction commits: see [candidacy.Begin].

// queue is one wait in etcd's election.
type queue struct {
	election *concurrency.Election
	cancel   context.CancelFunc
	done     chan struct{} // closed when the wait has ended
	err      error         // how, once done is closed
	after    int64         // a revision before the candidate's key was made
}

// ended reports whether the wait has ended, and how.
func (q *queue) ended() (bool, error) {
	select {
	case <-q.done:
		return true, q.err
	default:
		return false, nil
	}
}

// enqueue waits in the election, by a key that is made after a revision, and calls wake
// when the wait has ended. The wait outlives the candidacy that ends before its turn has
// come, by a handover or a step forward, and even the presence: cancelling it deletes the
// key, and a node that has led would be followed while its record still says that it
// leads. It ends with the lease.
func (m *presence) enqueue(after int64, wake func()) {
	m.stood.Store(true)
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(m.exists))
	q := &queue{
		election: concurrency.NewElection(m.session, m.store.keys.electionPrefix()),
		cancel:   cancel, done: make(chan struct{}), after: after,
	}
	m.store.group.Go(func() {
		q.err = q.election.Campaign(ctx, m.node)
		close(q.done)
		wake()
	})
	m.queue = q
}

// leaveQueue ends a wait whose key is gone, if there is one.
func (m *presence) leaveQueue() {
	if m.queue != nil {
		m.queue.cancel()
		m.queue = nil
	}
}

// noteDoubt remembers that etcd has not answered the creation of a key: only an answer
// gives the election a revision.
func (m *presence) noteDoubt(q *queue) {
	if q.err != nil && q.election.Rev() == 0 && !notApplied(q.err) {
		m.doubt = true
	}
}
