package etcdstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/internal/retry"
)

// The election is etcd's own, entered under the membership's lease, and its
// result is a hint. concurrency.Election waits for the keys before its own to
// vanish and does not look whether its own still exists, so it also "elects" a
// candidate whose lease has died. A term begins only when the term transaction
// commits: see claim.

// queue is one wait in etcd's election.
type queue struct {
	election *concurrency.Election
	cancel   context.CancelFunc
	done     chan struct{} // closed when the wait has ended
	err      error         // how, once done is closed
}

// errQueueAgain is why a candidate that came first goes to the end of the queue.
var errQueueAgain = errors.New("not this time")

// Campaign stands for election; see [coordinator.Membership].
func (m *membership) Campaign(ctx context.Context, consider func(coordinator.Plane) bool) (coordinator.Term, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(m.ctx, func() { cancel(m.Cause()) })()
	m.leaveQueue()
	given := m.watchTermRecord(ctx)
	pause := retry.NewPause(maxPause)
	for {
		if m.queue == nil {
			m.enqueue()
		}
		select {
		case <-m.queue.done:
		case <-given:
		case <-ctx.Done():
			return nil, m.withdraw(context.Cause(ctx))
		}
		t, err := m.claim(ctx, consider)
		if t != nil {
			return t, nil
		}
		if errors.Is(err, errQueueAgain) {
			err = m.deleteKey(ctx)
			if err == nil {
				m.leaveQueue()
				pause.Reset()
			}
		}
		if err != nil && ctx.Err() == nil {
			m.store.log.Debug("campaign interrupted, retrying", zap.Error(err))
			_ = retry.Wait(ctx, pause.Next())
		}
	}
}

// enqueue waits in the election. The wait outlives the campaign that a handover
// ends early, since cancelling it would delete the key; it ends with the
// membership at the latest.
func (m *membership) enqueue() {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(m.ctx))
	q := &queue{
		election: concurrency.NewElection(m.session, m.store.keys.electionPrefix()),
		cancel:   cancel, done: make(chan struct{}),
	}
	m.store.group.Go(func() {
		defer close(q.done)
		q.err = q.election.Campaign(ctx, m.node)
	})
	m.queue = q
}

// leaveQueue ends a wait whose key is gone, if there is one.
func (m *membership) leaveQueue() {
	if m.queue != nil {
		m.queue.cancel()
		m.queue = nil
	}
}

// deleteKey deletes the own election key, whichever revision made it.
func (m *membership) deleteKey(ctx context.Context) error {
	ctx, cancel := m.store.bound(ctx)
	defer cancel()
	key := m.candidateKey()
	_, err := m.store.client.Txn(ctx).
		If(clientv3.Compare(clientv3.LeaseValue(key), "=", m.id)).
		Then(clientv3.OpDelete(key)).
		Commit()
	if err != nil {
		return fmt.Errorf("delete election key: %w", translate(err))
	}
	return nil
}

func (m *membership) candidateKey() string { return m.store.keys.candidate(m.id) }

// withdraw leaves the election and returns why, once the key is known to be gone
// or the membership over. A key whose creation is in doubt could still appear
// after it was deleted, so then the lease has to go.
func (m *membership) withdraw(why error) error {
	q := m.queue
	m.queue = nil
	q.cancel()
	select {
	case <-q.done:
		m.noteDoubt(q)
	case <-m.ctx.Done():
		return m.Cause()
	}
	if m.doubt {
		m.end(fmt.Errorf("%w: given up, since it is not known whether its candidacy exists", coordinator.ErrLeaseLost))
		return m.Cause()
	}
	for pause := retry.NewPause(maxPause); m.live(); {
		err := m.deleteKey(m.ctx)
		if err == nil {
			return why
		}
		m.store.log.Warn("election key not deleted, retrying", zap.Error(err))
		_ = retry.Wait(m.ctx, pause.Next())
	}
	return m.Cause()
}

// noteDoubt remembers that etcd has not answered the creation of a key: only an
// answer gives the election a revision.
func (m *membership) noteDoubt(q *queue) {
	if q.err != nil && q.election.Rev() == 0 && !notApplied(q.err) {
		m.doubt = true
	}
}

// watchTermRecord returns a channel that holds a token when the term record has
// come to name this membership's key: the end of a handover, for which no
// election is won.
func (m *membership) watchTermRecord(ctx context.Context) <-chan struct{} {
	given := make(chan struct{}, 1)
	key := m.candidateKey()
	m.store.group.Go(func() {
		m.store.watchHolder(ctx, key, func(p *picture) bool {
			if p.holder.Key == key {
				select {
				case given <- struct{}{}:
				default:
				}
			}
			return true
		})
	})
	return given
}

// watchHolder calls see with the term record and the election key as they are
// and after each change of either, until see returns false or ctx ends. It
// survives broken streams.
func (s *Store) watchHolder(ctx context.Context, key string, see func(*picture) bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	look := func(p *picture) {
		if !see(p) {
			cancel()
		}
	}
	for pause := retry.NewPause(maxPause); ctx.Err() == nil; {
		p, err := s.look(ctx)
		if err == nil {
			pause.Reset()
			look(p)
			err = s.events(ctx, p.revision, [2]span{single(s.keys.term()), single(key)}, func(batch []*clientv3.Event, _ int64) {
				for _, ev := range batch {
					if ev.Type == clientv3.EventTypeDelete {
						p.remove(string(ev.Kv.Key))
					} else {
						p.put(ev.Kv)
					}
				}
				look(p)
			})
		}
		if ctx.Err() == nil {
			s.log.Debug("term record out of sight, retrying", zap.Error(err))
			_ = retry.Wait(ctx, pause.Next())
		}
	}
}

// claim tries to begin a term. It returns neither term nor error if another
// candidate is first, and errQueueAgain if this one is to queue again.
func (m *membership) claim(ctx context.Context, consider func(coordinator.Plane) bool) (*term, error) {
	p, err := m.store.look(ctx)
	if err != nil {
		return nil, fmt.Errorf("read plane: %w", err)
	}
	key := m.candidateKey()
	created := p.candidates[key]
	if created != 0 && p.held() && p.holder.Key == key && p.holder.Term != m.lastLed {
		return m.begin(p, p.termMod, created), nil // by a handover, or by an answer that was lost
	}
	select {
	case <-m.queue.done:
	default:
		return nil, nil
	}
	switch {
	case m.queue.err != nil:
		m.noteDoubt(m.queue)
		err = m.queue.err
		m.queue = nil // the next wait takes up the key if it is there
		return nil, fmt.Errorf("wait in the election: %w", translate(err))
	case !p.vacantFor(key, created):
		return nil, errQueueAgain
	case !consider(p.plane()):
		return nil, errQueueAgain
	default:
		return m.record(ctx, p, created)
	}
}

// record is the term transaction: it begins the term if everything that the
// decision was made on still holds. If its answer is lost, the next look tells
// what became of it.
func (m *membership) record(ctx context.Context, p *picture, created int64) (*term, error) {
	ctx, cancel := m.store.bound(ctx)
	defer cancel()
	if !m.live() {
		return nil, m.Cause()
	}
	k := m.store.keys
	key := m.candidateKey()
	holder := coordinator.Holder{
		Term: max(created, p.holder.Term+1), Key: key, Node: m.node,
		Since: time.Now().UTC().Truncate(time.Millisecond),
	}
	writes := []clientv3.Op{clientv3.OpPut(k.term(), encodeJSON(holder))}
	if p.metaMod == 0 {
		p.meta = metaValue{PlaneID: rand.Text(), Format: planeFormat, Created: holder.Since}
		writes = append(writes, clientv3.OpPut(k.meta(), encodeJSON(p.meta)))
	}
	resp, err := m.store.client.Txn(ctx).If(p.asSeen(key, created)...).Then(writes...).Commit()
	if err != nil {
		return nil, fmt.Errorf("begin term: %w", translate(err))
	}
	if !resp.Succeeded {
		return nil, nil // something changed: look again
	}
	p.holder = holder
	return m.begin(p, resp.Header.Revision, created), nil
}
