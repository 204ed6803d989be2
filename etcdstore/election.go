package etcdstore

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
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
	after    int64         // the revision looked at last before it began
	seen     bool          // its key has been there
}

// ended reports whether the wait has ended.
func (q *queue) ended() bool {
	select {
	case <-q.done:
		return true
	default:
		return false
	}
}

// errQueueAgain is why a candidate that came first goes to the end of the queue.
var errQueueAgain = errors.New("not this time")

// errMoved is why a candidate looks again, after a while: what it looked at has
// changed, or is such that no look tells what is in the way.
var errMoved = errors.New("the plane has changed meanwhile")

// Campaign stands for election; see [driver.Presence].
func (m *membership) Campaign(ctx context.Context, bid driver.Bid) (driver.Term, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(m.ctx, func() { cancel(m.Cause()) })()
	m.leaveQueue()
	pause := retry.NewPause(maxPause)
	level := zap.WarnLevel // the first failure of a row is news, the others are not
	c := &contest{bid: &bid, jump: bid.Ordered, vacancy: m.watchVacancy(ctx)}
	defer c.waitTurn()
	for {
		if m.queue == nil {
			m.enqueue()
		}
		turn := m.queue.done
		if c.holding {
			turn = nil // it has come, and is not taken
		}
		select {
		case <-turn:
		case <-c.vacancy.news:
		case <-c.patience():
			c.stepForward()
		case <-bid.Forward:
			c.stepForward()
		case <-ctx.Done():
			return nil, m.withdraw(context.Cause(ctx))
		}
		t, err := m.claim(ctx, c)
		c.holding = errors.Is(err, driver.ErrHold)
		var off *calledOff
		switch {
		case t != nil:
			return t, nil
		case errors.As(err, &off):
			return nil, m.withdraw(off.why)
		case errors.Is(err, errQueueAgain), errors.Is(err, driver.ErrYield):
			if err = m.queueAgain(ctx, c, err); err == nil {
				pause.Reset()
			}
		}
		fine, stuck := c.judge(err, m.store.cfg.TTL)
		switch {
		case stuck != nil:
			return nil, m.withdraw(stuck)
		case fine:
			level = zap.WarnLevel
		case err != nil && ctx.Err() == nil:
			m.store.log.Log(level, "campaign interrupted, retrying", zap.Error(err))
			level = zap.DebugLevel
			_ = retry.Wait(ctx, pause.Next())
			c.vacancy.stir() // whose turn has not come is woken by nothing else
		}
	}
}

// queueAgain leaves the queue, for its end, because of why.
func (m *membership) queueAgain(ctx context.Context, c *contest, why error) error {
	if errors.Is(why, driver.ErrYield) {
		c.limit = time.NewTimer(driver.YieldFor)
	}
	// Not if the term has been given meanwhile, which may be to this very key.
	asSeen := modifiedAt(m.store.keys.term(), c.recorded)
	_, err := m.deleteKey(ctx, asSeen)
	if err == nil {
		m.leaveQueue()
	}
	return err
}

// contest is a bid at work.
type contest struct {
	bid      *driver.Bid
	vacancy  *vacancy
	holding  bool        // the turn has come, and is not taken until something changes
	jump     bool        // a vacant term may be taken out of turn
	vacant   int64       // the last term when it was decided to jump or to make way
	recorded int64       // the mod revision of its record, as it was seen then
	limit    *time.Timer // when making way has lasted long enough; nil if it does not
	tries    driver.Attempts
}

// judge takes in how a try went, and tells whether the candidate is well, in the queue or
// holding, and an error when it is to make room for others. That others have changed what
// it looked at says nothing of this one, nor does a look before its key is there.
func (c *contest) judge(err error, ttl time.Duration) (fine bool, stuck error) {
	seen := c.vacancy.seen.Load()
	fine = c.holding || err == nil && seen.present
	switch {
	case !fine && (err == nil || errors.Is(err, errMoved)):
		return false, nil
	case !fine:
		c.tries.Failed(err, seen.term)
	}
	stuck = c.tries.Judge(seen.term, ttl)
	if fine {
		c.tries.Reset()
	}
	return fine, stuck
}

// stepForward has the candidate take the vacant term out of turn.
func (c *contest) stepForward() {
	c.jump, c.vacant = true, c.vacancy.seen.Load().term
}

// patience returns what fires when making way has lasted long enough.
func (c *contest) patience() <-chan time.Time {
	if c.limit == nil {
		return nil
	}
	return c.limit.C
}

// waitTurn has the candidate wait for its turn again.
func (c *contest) waitTurn() {
	if c.limit != nil {
		c.limit.Stop()
		c.limit = nil
	}
	c.jump = c.bid.Ordered
}

// calledOff is a bid that its bidder gives up.
type calledOff struct{ why error }

// Error implements error.
func (e *calledOff) Error() string { return "called off: " + e.why.Error() }

// enqueue waits in the election. The wait outlives the campaign that ends before its
// turn has come, by a handover or a step forward, and even the membership: cancelling
// it deletes the key, and whoever has led would be followed while its record still
// says that it leads. It ends with the lease.
func (m *membership) enqueue() {
	m.stood.Store(true)
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(m.exists))
	q := &queue{
		election: concurrency.NewElection(m.session, m.store.keys.electionPrefix()),
		cancel:   cancel, done: make(chan struct{}), after: m.looked,
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

// vacancy is what a candidate watches beside the queue: the term record, which a
// handover lets name a candidate that has won no election; its own key; the pause.
type vacancy struct {
	news chan struct{} // holds a token when something has changed
	seen atomic.Pointer[sight]

	ending *time.Timer // fires when the pause is over; nil while none ends. Of the watch's goroutine
}

// sight is how a vacancy was seen last.
type sight struct {
	term     int64 // the number of the last term
	recorded int64 // the mod revision of its record
	present  bool  // the own key is there
	made     int64 // the create revision of the own key that was seen last
	outlived bool  // by the last term: the own key is too old to win another
	given    *gift // the term that the record gives to this candidate, if it does
}

// gift is a term that the term record gives to a candidate.
type gift struct {
	holder   driver.Holder
	recorded int64  // mod revision of the record
	created  int64  // create revision of the candidate's key
	planeID  string // empty if it was not looked at
}

// gift returns the term that the record gives to the candidate key, or nil.
func (p *picture) gift(key string) *gift {
	if created := p.candidates[key]; created != 0 && p.holder.Key == key && p.held() {
		return &gift{p.holder, p.termMod, created, p.meta.PlaneID}
	}
	return nil
}

// stir wakes the candidate.
func (v *vacancy) stir() {
	select {
	case v.news <- struct{}{}:
	default:
	}
}

func (m *membership) watchVacancy(ctx context.Context) *vacancy {
	v := &vacancy{news: make(chan struct{}, 1)}
	v.seen.Store(new(sight))
	key := m.candidateKey()
	m.store.group.Go(func() {
		m.store.watchHolder(ctx, key, func(p *picture) bool {
			s := sight{term: p.holder.Term, recorded: p.termMod, made: v.seen.Load().made, given: p.gift(key)}
			if made := p.candidates[key]; made != 0 {
				s.present, s.made, s.outlived = true, made, p.outlived(made)
			}
			v.seen.Store(&s)
			v.stir()
			v.wakeAtEnd(p.pause)
			return true
		})
		v.wakeAtEnd(nil)
	})
	return v
}

// wakeAtEnd has the candidate look again when a pause is over, which nothing in the store
// need tell. The watch's own goroutine calls it.
func (v *vacancy) wakeAtEnd(p *driver.Pause) {
	if v.ending != nil {
		v.ending.Stop()
		v.ending = nil
	}
	if now := time.Now(); !p.Over(now) && p.Until != nil {
		v.ending = time.AfterFunc(p.Until.Sub(now), v.stir)
	}
}

// now is the time as stored values carry it.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }
