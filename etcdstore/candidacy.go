package etcdstore

// This file is a candidacy as the node sees it: what the store tells of it by itself, the
// look, the transaction that begins a term, the wait in etcd's election, and the ways out of
// it. One goroutine at a time uses a candidacy; what it is told comes from goroutines of its
// own.

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/retry"
)

// candidacy is one candidate's part in the election. It watches, beside the queue, the term
// record, in which a handover names a candidate that has won no election; its own key; and
// the pause.
type candidacy struct {
	m       *presence
	changed chan struct{} // holds a token when something has changed
	stop    context.CancelFunc
	told    atomic.Pointer[told]

	// Of the goroutine that uses the candidacy.
	recorded int64  // the mod revision of the term record that was told of last
	found    *award // what the last look found to be given to this candidate, if anything
}

var _ driver.Candidacy = (*candidacy)(nil)

// told is what the watch has told last.
type told struct {
	term      int64  // the number of the last term
	recorded  int64  // the mod revision of its record
	present   bool   // the own key is there
	made      int64  // the create revision of the own key that was there last
	overtaken bool   // that key is older than the last term, and can win none
	award     *award // the term that the record gives to this candidate, if it does
}

// award is a term that the term record gives to a candidate.
type award struct {
	holder   driver.Holder
	recorded int64  // mod revision of the record
	created  int64  // create revision of the candidate's key
	planeID  string // empty if it was not looked at
}

// awarded returns the term that the record gives to the candidate key, or nil.
func (p *picture) awarded(key string) *award {
	if created := p.candidates[key]; created != 0 && p.holder.Key == key && p.held() {
		return &award{p.holder, p.termMod, created, p.meta.PlaneID}
	}
	return nil
}

// Stand enters the election; see [driver.Presence].
func (m *presence) Stand(context.Context) (driver.Candidacy, error) {
	if !m.live() {
		return nil, m.Cause()
	}
	m.leaveQueue()
	c := &candidacy{m: m, changed: make(chan struct{}, 1)}
	c.told.Store(new(told))
	ctx, stop := context.WithCancel(m.ctx)
	c.stop = stop
	key := m.candidateKey()
	m.store.group.Go(func() {
		m.store.watchHolder(ctx, key, func(p *picture) bool {
			now := told{term: p.holder.Term, recorded: p.termMod, made: c.told.Load().made, award: p.awarded(key)}
			if made := p.candidates[key]; made != 0 {
				now.present, now.made, now.overtaken = true, made, p.overtaken(made)
			}
			c.told.Store(&now)
			c.wake()
			return true
		})
	})
	m.enqueue(m.looked, c.wake)
	return c, nil
}

// wake says that something has changed.
func (c *candidacy) wake() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// Changed receives when something has changed.
func (c *candidacy) Changed() <-chan struct{} { return c.changed }

// Position tells where the candidate stands. A key that the watch shows counts only if it was
// made after this candidacy, or its last move to the end of the queue: the watch may be
// late, and show the one before.
func (c *candidacy) Position() driver.Position {
	now, q := c.told.Load(), c.m.queue
	c.recorded = now.recorded
	ended, err := q.ended()
	known := now.made > q.after
	position := driver.Position{
		Term:    now.term,
		Awarded: c.isNew(now.award),
		Queued:  known && now.present,
		Turn:    ended && err == nil,
		Gone:    known && !now.present,
		Failed:  ended && err != nil,
	}
	position.Spent = position.Queued && now.overtaken && !position.Awarded
	return position
}

// isNew reports whether a was given to this candidacy, and not to one before on the same
// lease.
func (c *candidacy) isNew(a *award) bool { return a != nil && a.holder.Term != c.m.lastLed }

// Look reads the plane. Where the wait in the queue has failed it says why and begins
// another, which takes up the key if it is there.
func (c *candidacy) Look(ctx context.Context) (driver.Situation, error) {
	m := c.m
	ctx, cancel := m.during(ctx)
	defer cancel()
	p, err := m.store.look(ctx)
	if err != nil {
		return driver.Situation{}, fmt.Errorf("read plane: %w", err)
	}
	key := m.candidateKey()
	m.looked = p.revision
	c.recorded, c.found = p.termMod, p.awarded(key)
	s := driver.Situation{
		Plane: p.plane(), Awarded: c.isNew(c.found), Open: p.openTo(key, p.candidates[key]), Basis: p,
	}
	if ended, err := m.queue.ended(); ended && err != nil && !s.Awarded {
		m.noteDoubt(m.queue)
		m.enqueue(m.queue.after, c.wake)
		return driver.Situation{}, fmt.Errorf("wait in the election: %w", translate(err))
	}
	return s, nil
}

// Accept begins the term that this candidate was given. The wait in the queue goes on: to
// end it would delete the key.
func (c *candidacy) Accept() (driver.Term, error) {
	for _, a := range []*award{c.told.Load().award, c.found} {
		if c.isNew(a) {
			c.stop()
			return c.m.begin(a), nil
		}
	}
	return nil, driver.ErrChanged
}

// Begin is the term transaction.
func (c *candidacy) Begin(ctx context.Context, seen driver.Situation, conditions driver.Conditions) (driver.Term, error) {
	m, p := c.m, seen.Basis.(*picture)
	ctx, cancel := m.during(ctx)
	defer cancel()
	if !m.live() {
		return nil, m.Cause()
	}
	created := p.candidates[m.candidateKey()]
	if !p.openTo(m.candidateKey(), created) {
		return nil, driver.ErrChanged
	}
	holder := driver.Holder{
		Term: max(created, p.lastTerm()+1, conditions.After+1), Key: m.candidateKey(), Node: m.node, Since: now(),
	}
	planeID, writes := p.found(conditions.PlaneID)
	writes = append(writes, clientv3.OpPut(m.store.keys.term(), encodeJSON(holder)))
	unchanged := p.unchanged(m, created, &conditions)
	if !conditions.InPause && p.pauseMod != 0 {
		writes = append(writes, clientv3.OpDelete(m.store.keys.pause())) // it is over
	}
	resp, err := m.store.client.Txn(ctx).If(unchanged...).Then(writes...).Commit()
	if err != nil {
		return nil, fmt.Errorf("begin term: %w", translate(err))
	}
	if !resp.Succeeded {
		return nil, driver.ErrChanged
	}
	c.stop()
	return m.begin(&award{holder, resp.Header.Revision, created, planeID}), nil
}

// openTo reports whether the candidate key, made at revision created, may begin a term in
// what the picture shows: it exists, nobody holds the term, and it is neither a key that
// has led nor one made before the last term, which a handover took past it.
func (p *picture) openTo(key string, created int64) bool {
	hasLed := p.holder.Key == key && created <= p.termMod
	return created != 0 && !p.held() && !hasLed && !p.overtaken(created)
}

// unchanged compares, for the term transaction, everything that openTo and the choice of a
// master looked at:
//
//   - the own election key is the one that was looked at
//   - the term record is as read, or absent as read
//   - the key named in that record is as read: gone, or a later candidacy's
//   - meta is as read, or absent as read
//   - no disabled node has the plane
//   - there is no pause, or the one that was looked at, which is over, unless the term may
//     begin in a pause
//   - nobody else is in the plane, where the term is to begin only then
func (p *picture) unchanged(m *presence, created int64, conditions *driver.Conditions) []clientv3.Cmp {
	key := m.candidateKey()
	compares := []clientv3.Cmp{
		createdAt(key, created),
		modifiedAt(p.keys.term(), p.termMod),
		modifiedAt(p.keys.meta(), p.metaMod),
	}
	if led := p.holder.Key; led != key && strings.HasPrefix(led, p.keys.election()) {
		compares = append(compares, createdAt(led, p.made(led)))
	}
	compares = append(compares, single(p.keys.guard()).empty())
	if !conditions.InPause {
		compares = append(compares, modifiedAt(p.keys.pause(), p.pastPause()))
	}
	if conditions.Alone {
		ignored := append(slices.Collect(maps.Keys(p.strays)), key)
		others := append(prefixed(p.keys.nodes()).without(m.key), prefixed(p.keys.election()).without(ignored...)...)
		for _, sp := range others {
			compares = append(compares, sp.empty())
		}
	}
	return compares
}

// pastPause is the revision of a pause that is over, and whose key may still be there; 0 for
// one that is in force, or none.
func (p *picture) pastPause() int64 {
	if p.pause.Over(time.Now()) {
		return p.pauseMod
	}
	return 0
}

// lastTerm returns the number of the last term, or a bound on it where somebody has deleted
// or garbled its record. In a plane that was founded, that term began before the picture
// was taken, and its number was no higher than that revision. Of a store whose revision was
// taken back, only the nodes know that saw more.
func (p *picture) lastTerm() int64 {
	if p.holder.Term == 0 && (p.metaMod != 0 || p.termMod != 0) {
		return p.revision
	}
	return p.holder.Term
}

// found returns the id of the plane and, where the picture shows none, the write that
// founds it: meta, with the given id or a random one.
func (p *picture) found(planeID string) (string, []clientv3.Op) {
	if p.metaMod != 0 {
		return p.meta.PlaneID, nil
	}
	if planeID == "" {
		planeID = rand.Text()
	}
	meta := metaValue{PlaneID: planeID, Format: driver.Format, Created: now()}
	return planeID, []clientv3.Op{clientv3.OpPut(p.keys.meta(), encodeJSON(meta))}
}

// now is the time as stored values carry it.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

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
