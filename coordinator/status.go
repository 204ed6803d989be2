package coordinator

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/replica"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file holds what a node tells: its status, its state, and waits for them. Any
// goroutine may ask, and none of it waits for the loop: it reads the picture that the loop
// has shown last.

// Status is what a node knows of itself at one moment.
type Status struct {
	driver.Record
	// PlaneTerm is the plane's last term as far as this node has seen.
	PlaneTerm int64
	// LeaseRemaining is for how long the node's lease can be relied on; zero means that
	// it cannot, or that there is none.
	LeaseRemaining time.Duration
	// Mirror is nil on a node that holds no state.
	Mirror *MirrorStatus
	// Quarantined counts the mementos that cannot be read, Faults names the first of
	// them, at most 100. Faults and Transitions are shared and must
	// not be changed: to ask for a status costs the same, whatever is in it.
	Quarantined int
	Faults      []rebind.Change
	// Transitions are the latest changes of state, newest first, at most 200.
	Transitions []Transition
	// LoopAge is how long ago the node's own loop last came round, which it does each
	// second, by a clock that counts suspension and that nobody can set.
	LoopAge time.Duration
	// InElection reports whether the node stands for election.
	InElection bool
	// Acting reports that the node is MASTER, within its deadline, and not about to
	// give its term up: nobody else can have written since its last write.
	Acting bool
	// Stopping reports that the node is stopping.
	Stopping bool
	// Store is what is known of the store as a whole.
	Store driver.Health
	// StoreFull reports that the store had no room for the last put of this master.
	StoreFull bool
}

// MirrorStatus describes a node's copy of the state.
type MirrorStatus struct {
	Revision  rebind.Revision
	Staleness time.Duration
	// Count is the number of mementos, Bytes the size of their names and payloads.
	Count int
	Bytes int64
	// Loaded and Total tell how far the present or last load has come, in mementos, and
	// LoadedBytes in bytes, 0 if the store does not count them.
	Loaded, Total, LoadedBytes int64
}

// Transition is one change of a node's state.
type Transition struct {
	At       time.Time
	From, To modes.State
	Reason   string
}

const maxTransitions = 200

// journal keeps the latest transitions and hands them to an observer in order.
type journal struct {
	mu      sync.Mutex // guards the fields below
	entries []Transition
	newest  []Transition  // the entries, newest first: made anew at each change and never changed
	total   int           // ever added
	added   chan struct{} // holds a token while an observer has something to read
}

func newJournal() *journal { return &journal{added: make(chan struct{}, 1)} }

func (j *journal) add(t Transition) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.entries) == maxTransitions {
		j.entries = slices.Delete(j.entries, 0, 1)
	}
	j.entries = append(j.entries, t)
	j.newest = slices.Clone(j.entries)
	slices.Reverse(j.newest)
	j.total++
	select {
	case j.added <- struct{}{}:
	default:
	}
}

// latest returns the entries, newest first, shared by all who ask.
func (j *journal) latest() []Transition {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.newest
}

// since returns the entries after the first seen ones, and how many there ever
// were.
func (j *journal) since(seen int) ([]Transition, int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	missing := min(j.total-seen, len(j.entries))
	return slices.Clone(j.entries[len(j.entries)-missing:]), j.total
}

// tell hands each transition to observe until ctx ends, and then those that are
// left.
func (j *journal) tell(ctx context.Context, log *zap.Logger, observe func(Transition)) {
	seen := 0
	for ended := false; !ended; {
		select {
		case <-j.added:
		case <-ctx.Done():
			ended = true
		}
		var news []Transition
		news, seen = j.since(seen)
		for _, t := range news {
			tellOne(log, observe, t)
		}
	}
}

// tellOne keeps an observer's panic from reaching the node.
func tellOne(log *zap.Logger, observe func(Transition), t Transition) {
	defer func() {
		if p := recover(); p != nil {
			log.Error("observer panicked", zap.Any("panic", p), zap.Stack("stack"))
		}
	}()
	observe(t)
}

// self is a picture of the node, which the loop makes for others; it never changes.
type self struct {
	record    driver.Record
	presence  driver.Presence
	term      context.Context // of the term it leads; nil if it leads none
	mirror    *replica.Mirror
	follows   context.Context // ends with the mirror; nil without one
	candidate bool
	stopping  bool
	rest      modes.State // where the node settles when it does not lead
}

// me returns self as it is true at this moment: a node whose lease has run out is not
// MASTER, whether or not its loop has noticed. It may have been frozen, and whoever asked
// it first on waking would be told of two masters.
func (n *Node) me() *self {
	me := n.self.Load()
	if me.record.State != modes.StateMaster || me.remaining() > 0 {
		return me
	}
	late := *me
	if late.rest == modes.StateFailed {
		late.rest = modes.StateInitializing // until the loop says why
	}
	late.record.State, late.record.Term, late.record.Next = late.rest, 0, ""
	late.term, late.candidate = nil, false
	return &late
}

// remaining is for how long the lease can be relied on, and never negative.
func (s *self) remaining() time.Duration {
	if s.presence == nil {
		return 0
	}
	return max(s.presence.Remaining(), 0)
}

// acting reports whether the node may speak as the master.
func (s *self) acting() bool {
	return s.term != nil && s.term.Err() == nil && s.remaining() > 0
}

// ID returns the node's id, which never changes.
func (n *Node) ID() string { return n.cfg.ID }

// MaxPayload returns [Config.MaxPayload], or its default.
func (n *Node) MaxPayload() int { return n.cfg.MaxPayload }

// State returns the node's state at this moment, as [Node.Status] shows it. It never waits
// and copies nothing.
func (n *Node) State() modes.State { return n.me().record.State }

// Status tells how the node is. It never waits for the loop, and costs the same
// however much there is to tell.
func (n *Node) Status() Status {
	me := n.me()
	s := Status{
		Record:         me.record,
		PlaneTerm:      n.cache.current().Holder.Term,
		Transitions:    n.journal.latest(),
		LoopAge:        n.turned.Load().Age(),
		InElection:     me.candidate,
		Acting:         me.acting(),
		Stopping:       me.stopping,
		LeaseRemaining: me.remaining(),
		StoreFull:      me.record.State == modes.StateMaster && n.full.Load(),
		Store:          n.store.Health(),
	}
	if me.mirror == nil {
		return s
	}
	load := me.mirror.Progress()
	s.Mirror = &MirrorStatus{Loaded: load.Loaded, Total: load.Total, LoadedBytes: load.Bytes}
	if view := me.mirror.View(); view != nil {
		s.Mirror.Revision = view.Revision()
		s.Mirror.Staleness = me.staleness()
		s.Mirror.Count = view.Len()
		s.Mirror.Bytes = view.Bytes()
		s.Quarantined = view.FaultCount()
		s.Faults = view.FirstFaults()
	}
	return s
}

// staleness is 0 on a master whose copy is the store's: nobody else can have written.
func (s *self) staleness() time.Duration {
	if s.acting() && !s.mirror.InDoubt() {
		return 0
	}
	return s.mirror.Staleness()
}

// Reading is a view and how current it is.
type Reading struct {
	View      *rebind.View
	Staleness time.Duration
	State     modes.State
	// Term is the plane's last term as far as this node has seen.
	Term int64
}

// Read returns the state as this node has it, or [ErrNotReadable]. A master
// shows every write it has acknowledged.
func (n *Node) Read() (Reading, error) {
	me := n.me()
	if !me.record.State.Readable() || me.mirror == nil || me.mirror.View() == nil {
		return Reading{}, notReadable(me.record)
	}
	return Reading{
		View:      me.mirror.View(),
		Staleness: me.staleness(),
		State:     me.record.State,
		Term:      cmp.Or(me.record.Term, n.cache.current().Holder.Term),
	}, nil
}

// WaitRevision blocks until this node's state has reached the revision to. It
// returns [ErrNotReadable] on a node that holds no state, and the cause of ctx
// if that ends first.
func (n *Node) WaitRevision(ctx context.Context, to rebind.Revision) error {
	me := n.me()
	if me.mirror == nil {
		return notReadable(me.record)
	}
	return me.mirror.CatchUp(ctx, to)
}

// Past returns mementos as they were at a revision, read from the store, as
// [driver.Store.Past] does.
func (n *Node) Past(ctx context.Context, at rebind.Revision, start rebind.Name, limit int) (found []rebind.Change, more bool, err error) {
	return n.store.Past(ctx, at, start, limit)
}

// Confirm blocks until this node's state is known to be current as of a moment after
// the call, as [replica.Mirror.Confirm] does, or returns [ErrNotReadable] on a node
// that holds no state.
//
// A master asks the store like any other node. Its lease tells that nobody else has
// written, and its view has what it has acknowledged; but a write whose answer is
// still on its way back from the store may be on a hot node's copy already, and a client
// that has read it there must not find it missing here afterwards.
func (n *Node) Confirm(ctx context.Context) error {
	me := n.me()
	if !me.record.State.Readable() || me.mirror == nil {
		return notReadable(me.record)
	}
	return me.mirror.Confirm(ctx)
}

// Steps tells what happened to mementos after a revision, as [replica.Mirror.Steps]
// does. It returns [ErrNotReadable] on a node that holds no state, also when that
// comes to be so while Steps waits.
func (n *Node) Steps(ctx context.Context, after rebind.Revision) ([]rebind.Changeset, rebind.Revision, error) {
	m, ctx, done, err := n.following(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer done()
	return m.Steps(ctx, after)
}

// Replay tells what happened to mementos after a revision from which Steps no longer
// does, as [replica.Mirror.Replay] does, and otherwise as Steps.
func (n *Node) Replay(ctx context.Context, after rebind.Revision, tell func([]rebind.Changeset) error) (rebind.Revision, error) {
	m, ctx, done, err := n.following(ctx)
	if err != nil {
		return 0, err
	}
	defer done()
	return m.Replay(ctx, after, tell)
}

// following returns this node's mirror, and a context that ends when the node gives
// the mirror up.
func (n *Node) following(ctx context.Context) (*replica.Mirror, context.Context, func(), error) {
	me := n.me()
	if !me.record.State.Readable() || me.mirror == nil {
		return nil, nil, nil, notReadable(me.record)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(me.follows, func() { cancel(notReadable(n.me().record)) })
	return me.mirror, ctx, func() { stop(); cancel(nil) }, nil
}

// WaitMaster blocks until the plane has a master that has announced itself, and
// returns it, or [ErrNoMaster] if ctx ends first.
func (n *Node) WaitMaster(ctx context.Context) (driver.Member, error) {
	p, err := n.cache.until(ctx, func(p *driver.NearPlane) bool {
		_, ok := p.Master()
		return ok
	})
	if err != nil {
		return driver.Member{}, errors.Join(ErrNoMaster, err)
	}
	m, _ := p.Master()
	return m, nil
}

// WaitSuccessor blocks until the plane has a later term than the given one, and
// returns the cause of ctx if that ends first.
func (n *Node) WaitSuccessor(ctx context.Context, term int64) error {
	_, err := n.cache.until(ctx, func(p *driver.NearPlane) bool { return p.Holder.Term > term })
	return err
}
