package coordtest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/coordtest/memstore"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

// faultyStore is what one process has of a store: every call and every answer passes it. It
// works on any store.
type faultyStore struct {
	driver.Store
	tasks sync.WaitGroup // goroutines that end with what they follow

	mu      sync.Mutex // guards the fields below
	frozen  chan struct{}
	killed  bool
	hooks   map[memstore.Call]func() error
	answers map[memstore.Call]answer
}

// answer is what happens to the answer of a call that takes effect.
type answer struct {
	lost bool
	late time.Duration
}

func newFaultyStore(s driver.Store) *faultyStore {
	return &faultyStore{Store: s, hooks: make(map[memstore.Call]func() error), answers: make(map[memstore.Call]answer)}
}

func (l *faultyStore) kill() {
	l.thaw()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.killed = true
}

func (l *faultyStore) freeze() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.frozen == nil {
		l.frozen = make(chan struct{})
	}
}

// thaw ends freeze and reports whether there was anything to end.
func (l *faultyStore) thaw() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.frozen == nil {
		return false
	}
	close(l.frozen)
	l.frozen = nil
	return true
}

func (l *faultyStore) onCall(call memstore.Call, f func() error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hooks[call] = f
}

func (l *faultyStore) answerOnce(call memstore.Call, a answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers[call] = a
}

// thawed waits until the process runs. It heeds no context: a process that stands still
// does not either.
func (l *faultyStore) thawed() {
	for {
		l.mu.Lock()
		frozen := l.frozen
		l.mu.Unlock()
		if frozen == nil {
			return
		}
		<-frozen
	}
}

// still reports whether the process stands still.
func (l *faultyStore) still() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.frozen != nil
}

// ask is called before a call takes effect, and returns why it must not.
func (l *faultyStore) ask(call memstore.Call) error {
	l.thawed()
	l.mu.Lock()
	killed, hook := l.killed, l.hooks[call]
	l.mu.Unlock()
	switch {
	case killed:
		return fmt.Errorf("%w: the process was killed", rebind.ErrUnavailable)
	case hook != nil:
		return hook()
	}
	return nil
}

// hear is called when a call has returned err, and returns what the node is told.
func (l *faultyStore) hear(ctx context.Context, call memstore.Call, err error) error {
	l.mu.Lock()
	a, ok := l.answers[call]
	if err == nil {
		delete(l.answers, call)
	}
	l.mu.Unlock()
	if err == nil && ok {
		err = a.wait(ctx)
	}
	l.thawed()
	return err
}

// wait returns when the answer is there, or an error when it is not going to be.
func (a answer) wait(ctx context.Context) error {
	if a.lost {
		return fmt.Errorf("%w: the answer was lost", rebind.ErrUnknown)
	}
	select {
	case <-time.After(a.late):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: the answer is late: %w", rebind.ErrUnknown, context.Cause(ctx))
	}
}

// do makes a call that returns nothing but an error.
func (l *faultyStore) do(ctx context.Context, call memstore.Call, f func() error) error {
	if err := l.ask(call); err != nil {
		return err
	}
	return l.hear(ctx, call, f())
}

// get makes a call that returns something.
func get[T any](ctx context.Context, l *faultyStore, call memstore.Call, f func() (T, error)) (T, error) {
	var got T
	err := l.do(ctx, call, func() (err error) { got, err = f(); return err })
	return got, err
}

// Load reads all, each page only while the process runs.
func (l *faultyStore) Load(ctx context.Context, page func(driver.Page) error) (rebind.Revision, error) {
	return get(ctx, l, memstore.CallLoad, func() (rebind.Revision, error) {
		return l.Store.Load(ctx, func(p driver.Page) error { l.thawed(); return page(p) })
	})
}

// Watch opens a stream that brings nothing while the process stands still.
func (l *faultyStore) Watch(ctx context.Context, after rebind.Revision) driver.Watcher {
	return faultyWatcher{l.Store.Watch(ctx, after), l}
}

// Head reads the revision.
func (l *faultyStore) Head(ctx context.Context) (rebind.Revision, error) {
	return get(ctx, l, memstore.CallHead, func() (rebind.Revision, error) { return l.Store.Head(ctx) })
}

// Tally counts.
func (l *faultyStore) Tally(ctx context.Context, at rebind.Revision) (int64, error) {
	return get(ctx, l, memstore.CallHead, func() (int64, error) { return l.Store.Tally(ctx, at) })
}

// Plane reads the plane.
func (l *faultyStore) Plane(ctx context.Context) (driver.Plane, error) {
	return get(ctx, l, memstore.CallPlane, func() (driver.Plane, error) { return l.Store.Plane(ctx) })
}

// Writable asks whether writes are taken.
func (l *faultyStore) Writable(ctx context.Context, r driver.Record) error {
	return l.do(ctx, memstore.CallOperate, func() error { return l.Store.Writable(ctx, r) })
}

// Size counts the nodes.
func (l *faultyStore) Size(ctx context.Context) (int, error) {
	return get(ctx, l, memstore.CallSize, func() (int, error) { return l.Store.Size(ctx) })
}

// Follow shows the plane while the process runs.
func (l *faultyStore) Follow(ctx context.Context, see func(driver.Plane)) error {
	return l.Store.Follow(ctx, func(p driver.Plane) { l.thawed(); see(p) })
}

// FollowNear shows what concerns a node while the process runs.
func (l *faultyStore) FollowNear(ctx context.Context, node string, see func(driver.NearPlane)) error {
	return l.Store.FollowNear(ctx, node, func(p driver.NearPlane) { l.thawed(); see(p) })
}

// History reads the history.
func (l *faultyStore) History(ctx context.Context) ([]driver.HistoryEntry, error) {
	return get(ctx, l, memstore.CallHistory, func() ([]driver.HistoryEntry, error) { return l.Store.History(ctx) })
}

// Past reads the past.
func (l *faultyStore) Past(ctx context.Context, at rebind.Revision, start rebind.Name, limit int) (found []rebind.Change, more bool, err error) {
	err = l.do(ctx, memstore.CallLoad, func() (err error) {
		found, more, err = l.Store.Past(ctx, at, start, limit)
		return err
	})
	return found, more, err
}

// Join joins with a presence that has the same faults.
func (l *faultyStore) Join(ctx context.Context, r driver.Record) (driver.Presence, error) {
	return get(ctx, l, memstore.CallJoin, func() (driver.Presence, error) {
		m, err := l.Store.Join(ctx, r)
		if err != nil {
			return nil, err
		}
		return l.presence(m), nil
	})
}

// JoinExclusive takes the plane, with a presence and a term that have the same faults.
func (l *faultyStore) JoinExclusive(ctx context.Context, r driver.Record, planeID string) (m driver.Presence, t driver.ExclusiveTerm, err error) {
	err = l.do(ctx, memstore.CallJoinExclusive, func() error {
		inner, won, err := l.Store.JoinExclusive(ctx, r, planeID)
		if err != nil {
			return err
		}
		m = l.presence(inner)
		t = &faultyExclusiveTerm{faultyTermCore: l.termCore(won), inner: won}
		return nil
	})
	return m, t, err
}

// Pause puts a pause in force.
func (l *faultyStore) Pause(ctx context.Context, p driver.Pause) error {
	return l.do(ctx, memstore.CallOperate, func() error { return l.Store.Pause(ctx, p) })
}

// Resume ends a pause.
func (l *faultyStore) Resume(ctx context.Context) error {
	return l.do(ctx, memstore.CallOperate, func() error { return l.Store.Resume(ctx) })
}

// Forget forgets a node.
func (l *faultyStore) Forget(ctx context.Context, node string) error {
	return l.do(ctx, memstore.CallOperate, func() error { return l.Store.Forget(ctx, node) })
}

// faultyWatcher is a stream of a process that may stand still.
type faultyWatcher struct {
	driver.Watcher
	link *faultyStore
}

// Next brings a batch while the process runs.
func (w faultyWatcher) Next(ctx context.Context) (driver.Batch, error) {
	w.link.thawed()
	b, err := w.Watcher.Next(ctx)
	w.link.thawed()
	return b, err
}

// faultyPresence is one of a process that may stand still.
type faultyPresence struct {
	driver.Presence
	link *faultyStore
	lost chan struct{}

	mu   sync.Mutex // guards the field below
	left time.Duration
}

func (l *faultyStore) presence(inner driver.Presence) *faultyPresence {
	p := &faultyPresence{Presence: inner, link: l, lost: make(chan struct{})}
	l.tasks.Go(func() {
		<-inner.Lost()
		l.thawed()
		close(p.lost)
	})
	return p
}

// Lost is closed when a process that runs learns of the loss.
func (p *faultyPresence) Lost() <-chan struct{} { return p.lost }

// Remaining does not change while the process stands still.
func (p *faultyPresence) Remaining() time.Duration {
	still := p.link.still()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !still {
		p.left = p.Presence.Remaining()
	}
	return p.left
}

// Heartbeat is given by a process that runs.
func (p *faultyPresence) Heartbeat() {
	if !p.link.still() {
		p.Presence.Heartbeat()
	}
}

// Publish replaces the record.
func (p *faultyPresence) Publish(ctx context.Context, r driver.Record) error {
	return p.link.do(ctx, memstore.CallPublish, func() error { return p.Presence.Publish(ctx, r) })
}

// Stand enters the election with a candidacy that has the same faults.
func (p *faultyPresence) Stand(ctx context.Context) (driver.Candidacy, error) {
	return get(ctx, p.link, memstore.CallStand, func() (driver.Candidacy, error) {
		c, err := p.Presence.Stand(ctx)
		if err != nil {
			return nil, err
		}
		return &faultyCandidacy{Candidacy: c, link: p.link}, nil
	})
}

// Leave leaves the plane.
func (p *faultyPresence) Leave(ctx context.Context, last *driver.Departed) error {
	return p.link.do(ctx, memstore.CallLeave, func() error { return p.Presence.Leave(ctx, last) })
}

// faultyCandidacy is one of a process that may stand still.
type faultyCandidacy struct {
	driver.Candidacy
	link *faultyStore
}

// Position tells where the candidate stands, to a process that runs.
func (c *faultyCandidacy) Position() driver.Position {
	c.link.thawed()
	return c.Candidacy.Position()
}

// Look reads the plane.
func (c *faultyCandidacy) Look(ctx context.Context) (driver.Situation, error) {
	return get(ctx, c.link, memstore.CallLook, func() (driver.Situation, error) { return c.Candidacy.Look(ctx) })
}

// Begin begins a term that has the same faults. Its answer is lost by the store itself,
// which then has the term awarded.
func (c *faultyCandidacy) Begin(ctx context.Context, s driver.Situation, conditions driver.Conditions) (driver.Term, error) {
	if err := c.link.ask(memstore.CallClaim); err != nil {
		return nil, err
	}
	won, err := c.Candidacy.Begin(ctx, s, conditions)
	c.link.thawed()
	if err != nil {
		return nil, err
	}
	return c.link.term(won), nil
}

// Accept returns a term that has the same faults.
func (c *faultyCandidacy) Accept() (driver.Term, error) {
	won, err := c.Candidacy.Accept()
	c.link.thawed()
	if err != nil {
		return nil, err
	}
	return c.link.term(won), nil
}

// Requeue goes to the end of the queue.
func (c *faultyCandidacy) Requeue(ctx context.Context) error {
	return c.link.do(ctx, memstore.CallRequeue, func() error { return c.Candidacy.Requeue(ctx) })
}

// Leave leaves the election.
func (c *faultyCandidacy) Leave(ctx context.Context, why error) error {
	return c.link.do(ctx, memstore.CallWithdraw, func() error { return c.Candidacy.Leave(ctx, why) })
}

// faultyTermCore is what every term has, of a process that may stand still.
type faultyTermCore struct {
	driver.AnyTerm
	link *faultyStore
	ctx  context.Context
}

func (l *faultyStore) termCore(inner driver.AnyTerm) *faultyTermCore {
	ctx, end := context.WithCancelCause(context.WithoutCancel(inner.Context()))
	l.tasks.Go(func() {
		<-inner.Context().Done()
		l.thawed()
		end(context.Cause(inner.Context()))
	})
	return &faultyTermCore{AnyTerm: inner, link: l, ctx: ctx}
}

// Context ends when a process that runs learns that the term is over.
func (t *faultyTermCore) Context() context.Context { return t.ctx }

// Commit writes a delta.
func (t *faultyTermCore) Commit(ctx context.Context, writes []driver.Write) (rebind.Revision, error) {
	return get(ctx, t.link, memstore.CallCommit, func() (rebind.Revision, error) { return t.AnyTerm.Commit(ctx, writes) })
}

// Clear deletes all mementos.
func (t *faultyTermCore) Clear(ctx context.Context) (rebind.Revision, error) {
	return get(ctx, t.link, memstore.CallClear, func() (rebind.Revision, error) { return t.AnyTerm.Clear(ctx) })
}

// faultyExclusiveTerm is the term of a disabled node.
type faultyExclusiveTerm struct {
	*faultyTermCore
	inner driver.ExclusiveTerm
}

// Resign gives the plane up.
func (t *faultyExclusiveTerm) Resign(ctx context.Context) error {
	return t.link.do(ctx, memstore.CallResign, func() error { return t.inner.Resign(ctx) })
}

// faultyTerm is the term of a node in a shared plane.
type faultyTerm struct {
	*faultyTermCore
	inner driver.Term
}

func (l *faultyStore) term(inner driver.Term) *faultyTerm {
	return &faultyTerm{faultyTermCore: l.termCore(inner), inner: inner}
}

// Announce announces the master.
func (t *faultyTerm) Announce(ctx context.Context, r driver.Record, h driver.HistoryEntry) error {
	return t.link.do(ctx, memstore.CallAnnounce, func() error { return t.inner.Announce(ctx, r, h) })
}

// Publish replaces the record.
func (t *faultyTerm) Publish(ctx context.Context, r driver.Record) error {
	return t.link.do(ctx, memstore.CallPublish, func() error { return t.inner.Publish(ctx, r) })
}

// RecordDeparture keeps what is known of a node that vanished.
func (t *faultyTerm) RecordDeparture(ctx context.Context, d driver.Departed) error {
	return t.link.do(ctx, memstore.CallRecordDeparture, func() error { return t.inner.RecordDeparture(ctx, d) })
}

// CheckHandover asks whether a handover may be made.
func (t *faultyTerm) CheckHandover(ctx context.Context, to driver.Member) error {
	return t.link.do(ctx, memstore.CallPlane, func() error { return t.inner.CheckHandover(ctx, to) })
}

// Offer offers the term, or withdraws that.
func (t *faultyTerm) Offer(ctx context.Context, o *driver.Offer) error {
	return t.link.do(ctx, memstore.CallOffer, func() error { return t.inner.Offer(ctx, o) })
}

// Pass gives the term to another candidate.
func (t *faultyTerm) Pass(ctx context.Context, to driver.Member, r driver.Record) error {
	return t.link.do(ctx, memstore.CallPass, func() error { return t.inner.Pass(ctx, to, r) })
}

// Resign gives the term up.
func (t *faultyTerm) Resign(ctx context.Context, r driver.Record) error {
	return t.link.do(ctx, memstore.CallResign, func() error { return t.inner.Resign(ctx, r) })
}
