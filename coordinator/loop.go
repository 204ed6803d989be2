package coordinator

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/clock"
	"github.com/coordinator-ha/coordinator/modes"
)

// This file holds the loop of a node: its fields, the wait, and what changes the node's
// state and shows it. life.go holds the steps from joining to stopping, standby.go and
// candidate.go the election, promote.go and demote.go the beginning and the end of a term,
// handover.go giving it to another node, and orders.go what operators ask.
//
// # The loop
//
// A node is one loop, the goroutine in [Node.Run], which goes from step to step: it
// joins, settles in the resting state of its mode, stands by, is promoted, leads,
// resigns, leaves. It alone changes the node's state. What only the loop may touch has
// the loop as its receiver, or is held by a field of it; what anybody may call is a
// method of [Node]. Others see the node by an immutable picture that the loop shows,
// and reach the loop by requests.
//
// In every step the loop waits in await, where it takes up requests, and notices
// pictures of the plane, the end of its lease or term, and the stop. Besides, steps
// make calls that have a bound of their own:
//
//	step                what it waits for                            at most
//	any, in await       publish the node's record                    2 s
//	inspect             see the plane, ask what the store permits     2 s for each call
//	enter               join, for each attempt                       2 s
//	                    Config.StillAlive, once                      as long as that takes
//	joinExclusive       take the plane, for each attempt             2 s
//	rejoin              revoke the old lease, for each attempt       2 s
//	leavePlane          revoke the lease                             2 s
//	order               read the plane; ask what the store permits   2 s for each call
//	promote             clear and announce, for each attempt         2 s
//	lead                record a departure, for each vanished node   2 s
//	resign              end the program and settle writes            5 s
//	                    the transaction that ends the term           2 s
//	transfer            all of it                                    2 s
//	                    withdraw the offer, if it failed             1 s
//	leave               end or transfer the term                     4 s
//	                    the transaction that ends the term           2 s
//	                    revoke each of two leases                    2 s
//
// A call that is attempted again is so between two rounds of await. A loop that does not
// come round for [driver.StallLimit] loses its lease, whatever holds it up.
//
// # Goroutines
//
//	goroutine                    begins                  ends, and who waits for it
//	the loop                     Run                     Run returns
//	follow, poll (scope.go)      Run                     with the loop; Run waits
//	journal.tell (status.go)     Run                     with the loop; Run waits 2 s
//	a candidate (candidate.go)   campaign, in standBy    withdraw or leave waits; so does Run
//	a mirror, watchLoad          startReplica            dropReplica waits; so does Run
//	a wait for a revision        awaitRevision, promote  with the mirror or the term; Run waits
//	closing a persister          endLeadership           once writes are settled; Run waits
//	the program (program.go)     promote                 its context ends; resign and transfer
//	                                                     wait as long as the table says

// loop is what only the loop of a node touches: the goroutine that is in [Node.Run].
// Nobody else has a loop in hand. What others may know it puts into the node.
type loop struct {
	node  *Node
	cfg   *Config
	store driver.Store
	log   *zap.Logger
	cache *planeCache

	ctx   context.Context // of everything the node runs; a stop ends it last
	stop  <-chan struct{} // closed when the node is to stop; nil once the loop has seen that
	group sync.WaitGroup  // everything the node runs, apart from programs
	beat  *time.Ticker
	fatal error // why this node can never start

	instance string
	started  time.Time
	mode     modes.Mode
	priority int
	state    modes.State
	since    time.Time

	lastError string
	clean     bool  // all mementos are to be deleted in the first term
	inspected int64 // the plane's last term when the node looked at it before it joined

	presence   presence
	candidacy  *candidate    // nil while the node does not stand for election
	aside      time.Time     // until then others go first in the election
	leadership *leadership   // nil while the node holds no term
	program    *program      // the last call; nil before the first
	replica    *localReplica // nil while the node holds no state
	orders     orders

	readyFor  string       // the offer of a handover that the node is ready for
	offer     driver.Offer // the one of readyFor
	gaveUp    int64        // the last term that the node gave up by its own will; 0 for none
	gaveUpFor driver.Reason
}

// step is what the loop does next; nil ends it. Each step blocks until the node is
// to do something else and returns what that is.
type step func() step

// newLoop returns the loop of a new node, and shows the node as it is at first.
func newLoop(n *Node) *loop {
	l := &loop{
		node: n, cfg: &n.cfg, store: n.store, log: n.log, cache: n.cache,
		instance: rand.Text(),
		started:  now(),
		mode:     n.cfg.Mode,
		priority: n.cfg.Priority,
		state:    modes.StateInitializing,
		clean:    n.cfg.CleanStart,
	}
	l.since = l.started
	l.turn()
	l.show()
	return l
}

// live is [Node.Run].
func (l *loop) live(ctx context.Context) error {
	work, halt := context.WithCancel(context.WithoutCancel(ctx))
	l.ctx, l.stop = work, ctx.Done()
	l.beat = time.NewTicker(beatEvery)
	defer l.beat.Stop()
	l.group.Go(func() { l.cache.follow(work, l.store, l.cfg.HighestTerm, l.cfg.OnTerm, l.log) })
	l.group.Go(func() { l.cache.poll(work, l.store, l.log) })
	told := make(chan struct{})
	go func() { // not one of l.group: an observer that hangs must not keep the node
		defer close(told)
		l.node.journal.tell(work, l.log, l.cfg.Observe)
	}()
	for next := l.start(); next != nil; {
		next = next()
	}
	close(l.node.ended)
	halt()
	l.group.Wait()
	select {
	case <-told:
	case <-time.After(callTimeout):
		l.log.Error("observer does not return, leaving it behind")
	}
	return l.fatal
}

// await is the loop's wait. It first brings up to date what others see of the node, and
// then blocks until done is closed (ready), or something happened after which the caller
// looks again (neither), or something that takes the node elsewhere (next): a request, a
// lost lease, the end of the term, or the stop. So a node heeds all of these in any step.
// The top of this file lists what else a step may wait for, and for how long.
func (l *loop) await(done <-chan struct{}) (ready bool, next step) {
	l.refresh()
	return l.wait(done)
}

// refresh brings up to date what others see of the node, what the node sees of the
// plane, and the heartbeat. It blocks for callTimeout at most, and only where the record
// has to be published.
func (l *loop) refresh() {
	l.cache.followAll(l.clean || l.leadership != nil)
	if l.presence.changed {
		l.presence.changed = false
		l.compareRecord()
	}
	l.publish()
	l.show()
	l.turn()
}

// wait is await without the refresh.
func (l *loop) wait(done <-chan struct{}) (ready bool, next step) {
	requests := l.node.requests
	if l.orders.pending != nil {
		requests = nil // one change at a time
	}
	var over <-chan struct{}
	if l.leadership != nil {
		over = l.leadership.Context().Done()
	}
	select {
	case <-done:
		return true, nil
	case <-l.cache.changed:
		l.presence.changed = true
		return false, nil
	case request := <-requests:
		return false, request(l)
	case <-over:
		return false, l.rejoin
	case <-l.presence.lost():
		return false, l.rejoin
	case <-l.stop:
		l.stop = nil
		return false, l.leave
	case <-l.beat.C:
		if !l.presence.differsSince.IsZero() {
			l.presence.changed = true // no picture may come any more that shows it
		}
		return false, nil // what failed is tried again
	}
}

// pause is await for a time.
func (l *loop) pause(d time.Duration) step {
	wait, cancel := context.WithTimeout(l.ctx, d)
	defer cancel()
	for {
		if ready, next := l.await(wait.Done()); ready || next != nil {
			return next
		}
	}
}

// turn tells everybody who asks, and the lease, that the loop has come round: a node
// whose loop hangs must not keep what it holds. Steps that wait for long call it too.
func (l *loop) turn() {
	at := clock.Now()
	l.node.turned.Store(&at)
	l.presence.heartbeat()
}

// become moves the node to another state: the one place where its state changes.
// The store learns of it from publish.
func (l *loop) become(to modes.State, at time.Time, reason string) {
	if !modes.CanBecome(l.state, to) {
		panic(fmt.Sprintf("coordinator: a node that is %s cannot become %s", l.state, to)) // the steps contradict the rules
	}
	if to == l.state {
		return
	}
	l.log.Info("state changed", zap.Stringer("from", l.state), zap.Stringer("to", to),
		zap.Stringer("mode", l.mode), zap.String("reason", reason))
	t := Transition{At: at, From: l.state, To: to, Reason: reason}
	l.state, l.since = to, at
	l.show()
	l.node.journal.add(t)
}

// becomeMaster makes the node MASTER once r, its record as master, is stored.
func (l *loop) becomeMaster(r driver.Record, reason driver.Reason) {
	l.readyFor, l.gaveUp, l.gaveUpFor, l.lastError = "", 0, "", ""
	l.become(modes.StateMaster, r.Since, string(reason))
	l.presence.stored(r) // what has changed since is published next
	close(l.leadership.announced)
}

// becomeResting settles the node in a state in which it does not lead, which is FAILED
// for one that has no place in the plane. Only a hot state keeps the replica. The term
// has ended before.
func (l *loop) becomeResting(to modes.State, at time.Time, reason string) {
	l.become(to, at, reason)
	if !to.Hot() {
		l.dropReplica()
	}
}

// becomeFailed makes the node FAILED, for the reason that lastError gives.
func (l *loop) becomeFailed(reason string) {
	l.becomeResting(modes.StateFailed, now(), reason)
}

// rest is the state in which the node settles while it does not lead.
func (l *loop) rest() modes.State { return l.mode.Rest(!l.cfg.ColdStandby) }

// record is what the store should know of the node.
func (l *loop) record() driver.Record { return l.recordAs(l.state, l.since) }

// recordAs is the record of the node once it has come to the given state.
func (l *loop) recordAs(state modes.State, since time.Time) driver.Record {
	r := driver.Record{
		ID: l.cfg.ID, Plane: l.cfg.Plane, PlaneID: l.cache.current().ID, Instance: l.instance,
		Mode: l.mode, State: state, Priority: l.priority, Version: l.cfg.Version, URI: l.cfg.URI,
		Started: l.started, Since: since, LastError: strings.ToValidUTF8(cmp.Or(l.lastError, l.cfg.Trouble()), "\uFFFD"),
		ReadyFor: l.readyFor, GaveUp: l.gaveUp, GaveUpFor: l.gaveUpFor,
	}
	if state == modes.StateMaster && l.leadership != nil {
		r.Term, r.Next = l.leadership.Number(), l.leadership.next
		r.ReadyFor, r.GaveUp, r.GaveUpFor = "", 0, ""
	}
	return r
}

// publish brings the node's record in the store up to date. It blocks for callTimeout at
// most. What fails is tried again at the next beat; a lease that is lost shows by itself.
func (l *loop) publish() {
	r := l.record()
	if !l.presence.live() || l.presence.exclusive || r == l.presence.published {
		return
	}
	publish, whole := l.presence.lease.Publish, l.ctx
	if l.state == modes.StateMaster && l.leadership != nil {
		publish, whole = l.leadership.shared.Publish, l.leadership.Context() // whose end must not wait for this
	}
	ctx, cancel := context.WithTimeout(whole, callTimeout)
	defer cancel()
	l.presence.published, l.presence.shown = driver.Record{}, driver.Record{}
	if err := publish(ctx, r); err != nil {
		if whole.Err() == nil {
			l.log.Warn("record not published, retrying", zap.Error(err))
		}
		return
	}
	l.presence.stored(r)
}

// compareRecord has the node's record published again if somebody else has deleted or
// changed it.
func (l *loop) compareRecord() {
	p := l.cache.current()
	m, there := p.Member(l.cfg.ID)
	if l.presence.compare(m, there) {
		l.log.Warn("own record was deleted or changed by somebody else, publishing it again", zap.Bool("there", there))
	}
}

// show lets others see the node as it is. It returns at once.
func (l *loop) show() {
	s := &self{
		record:    l.record(),
		presence:  l.presence.lease,
		candidate: l.candidacy != nil,
		stopping:  l.ctx != nil && l.stop == nil,
		rest:      l.rest(),
	}
	if l.state == modes.StateMaster && l.leadership != nil && !l.leadership.suppressed {
		s.term = l.leadership.Context()
	}
	if l.replica != nil {
		s.mirror, s.follows = l.replica.Mirror, l.replica.ctx
	}
	l.node.self.Store(s)
}
