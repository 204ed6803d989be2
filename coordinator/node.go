package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/clock"
	"github.com/coordinator-ha/coordinator/internal/policy"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file holds a node and what anybody may ask it to do, from any goroutine; status.go
// holds what anybody may ask it to tell. What only the loop does is in loop.go and the files
// that it names.

const (
	// callTimeout bounds one call to the store by the loop.
	callTimeout = 2 * time.Second
	// maxPause is the longest time between two attempts.
	maxPause = 2 * time.Second
	// beatEvery is how often the loop comes round when nothing happens.
	beatEvery = time.Second
	// winTimeout is how long a node that was ordered to lead may take to win the
	// election: long enough for a slow store, too short for a lease to lapse.
	winTimeout = 2 * time.Second
	// takenGrace is how long after its TTL a dead process's record may still be
	// there: etcd looks for lapsed leases twice a second and revokes them in turn.
	takenGrace = 3 * time.Second
)

// Node is one member of a plane. [Node.Run] is its life; the other methods may be
// called from any goroutine while it lasts.
type Node struct {
	cfg     Config
	store   driver.Store
	log     *zap.Logger
	cache   *planeCache
	journal *journal

	// requests are run by the loop, one at a time.
	requests chan func(*loop) step
	// operator holds a token: operators' calls take turns.
	operator chan struct{}
	ended    chan struct{} // closed when Run has returned

	self    atomic.Pointer[self]
	leading atomic.Pointer[Leader]
	turned  atomic.Pointer[clock.Moment] // when the loop last came round
	full    atomic.Bool                  // the store had no room for the last put

	live func(ctx context.Context) error // runs the loop; for Run alone
}

// New makes a node of cfg on store. It starts nothing. The error names everything
// that is wrong with cfg.
func New(cfg Config, store driver.Store) (*Node, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("configuration of node: %w", err)
	}
	n := &Node{
		cfg:      cfg,
		store:    store,
		log:      cfg.Logger.With(zap.String("node", cfg.ID), zap.String("plane", cfg.Plane)),
		cache:    newPlaneCache(&cfg),
		journal:  newJournal(),
		requests: make(chan func(*loop) step),
		operator: make(chan struct{}, 1),
		ended:    make(chan struct{}),
	}
	n.operator <- struct{}{}
	n.live = newLoop(n).live
	return n, nil
}

// now is the time as records carry it.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// Run takes part in the plane until ctx ends. Losing the store or the term does
// not end it: the node demotes itself, reconnects and joins again. Run blocks;
// when it returns, every goroutine it started has returned, except a program
// that does not heed its context or an observer that hangs, and its term, if it
// had one, is handed over, given up or left to lapse with its lease.
//
// Run returns nil if ctx ended it, and otherwise why this node can never start:
// an [driver.ErrNodeTaken], [ErrMasterExists], [ErrNoMaster], [driver.ErrForeignPlane],
// [driver.ErrExclusive], [driver.ErrNoState] or [driver.ErrRefused]. Call it once.
func (n *Node) Run(ctx context.Context) error { return n.live(ctx) }

// do has the loop run request and returns when it has taken it up.
func (n *Node) do(ctx context.Context, request func(*loop) step) error {
	select {
	case n.requests <- request:
		return nil
	case <-n.ended:
		return ErrStopped
	case <-ctx.Done():
		return fmt.Errorf("wait for the node: %w", context.Cause(ctx))
	}
}

// takeTurn makes operators' calls take turns; the caller calls the returned func
// when it is done.
func (n *Node) takeTurn(ctx context.Context) (done func(), err error) {
	select {
	case <-n.operator:
		return func() { n.operator <- struct{}{} }, nil
	case <-n.ended:
		return nil, ErrStopped
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for another operation on this node: %w", context.Cause(ctx))
	}
}

// ModeChange tells what a change of mode led to: the node's mode and state now, and those
// that it had before.
type ModeChange struct {
	Mode, PreviousMode   modes.Mode
	State, PreviousState modes.State
}

// ChangeMode asks the node for another mode and blocks until it has come to the
// state that follows from it. Asking for the present mode changes nothing, but
// for a FAILED node, which starts afresh. Mode master is refused with
// [ErrMasterExists], or [driver.ErrRefused] if the node does not win; it then keeps its
// mode. If ctx ends first ChangeMode returns [ErrPending] with the node as it is,
// and the change goes on.
func (n *Node) ChangeMode(ctx context.Context, to modes.Mode) (ModeChange, error) {
	if !to.Valid() {
		return ModeChange{}, fmt.Errorf("%w: mode %s", rebind.ErrInvalid, to)
	}
	done, err := n.takeTurn(ctx)
	if err != nil {
		return ModeChange{}, err
	}
	defer done()
	before := n.me().record
	c := &modeRequest{to: to, result: make(chan modeResult, 1)}
	if err := n.do(ctx, func(l *loop) step { return l.takeModeChange(c) }); err != nil {
		return ModeChange{}, err
	}
	select {
	case r := <-c.result:
		return r.change, r.err
	case <-n.ended:
		return ModeChange{}, ErrStopped
	case <-ctx.Done():
		me := n.me().record
		return ModeChange{me.Mode, before.Mode, me.State, before.State}, ErrPending
	}
}

// SetPriority changes the node's priority and returns the one it had. It counts
// from the next vacancy.
func (n *Node) SetPriority(ctx context.Context, to int) (previous int, err error) {
	done, err := n.takeTurn(ctx)
	if err != nil {
		return 0, err
	}
	defer done()
	was := make(chan int, 1)
	err = n.do(ctx, func(l *loop) step {
		was <- l.takePriority(to)
		return nil
	})
	if err != nil {
		return 0, err
	}
	return <-was, nil
}

// HandoverResult tells how a handover went.
type HandoverResult struct {
	From, To string
	Term     int64 // the new one
	Duration time.Duration
}

// Handover passes mastership from this node to the candidate to, or to the best
// one if to is empty, and blocks until the new master has announced itself:
//
//  1. the master offers the handover in the store
//  2. the target makes ready and says so in its record
//  3. the master takes no more writes and settles those under way, and the
//     target says that it has caught up with them
//  4. one fenced transaction gives the target the term
//  5. the target catches up and announces itself
//
// Until the fourth has committed this node leads, and resumes if anything goes
// wrong. It returns [ErrNotMaster], [driver.ErrRefused] with the reason, or
// [rebind.ErrUnknown] when the term has passed and the new master is not seen.
func (n *Node) Handover(ctx context.Context, to string) (HandoverResult, error) {
	done, err := n.takeTurn(ctx)
	if err != nil {
		return HandoverResult{}, err
	}
	defer done()
	leader := n.announcedLeader()
	if leader == nil {
		return HandoverResult{}, ErrNotMaster
	}
	if leader.leadership.shared == nil {
		return HandoverResult{}, errNotShared
	}
	began := time.Now()
	h := &handover{n, leader.leadership}
	target, err := h.propose(ctx, to, readyTimeout)
	if err != nil {
		return HandoverResult{}, err
	}
	passed := make(chan error, 1)
	err = n.do(ctx, func(l *loop) step {
		if l.leadership != leader.leadership {
			passed <- ErrNotMaster
			return nil
		}
		next, err := l.transfer(target)
		passed <- err
		return next
	})
	if err != nil {
		leader.leadership.retract(n.log)
		return HandoverResult{}, err
	}
	if err := <-passed; err != nil {
		return HandoverResult{}, err
	}
	return h.watchArrival(ctx, target.ID, leader.Term(), began)
}

// CheckHandover looks at everything that a handover from this node to the candidate to,
// or to the best one if to is empty, depends on, and changes nothing. It returns
// [ErrNotMaster] on another node than the master, and [driver.ErrRefused] on a disabled one.
func (n *Node) CheckHandover(ctx context.Context, to string) ([]Check, error) {
	l := n.announcedLeader()
	if l == nil {
		return nil, ErrNotMaster
	}
	if l.leadership.shared == nil {
		return nil, errNotShared
	}
	p, err := n.Plane(ctx)
	if err != nil {
		return nil, err
	}
	if to == "" {
		to, _ = policy.Next(p)
	}
	target, live := p.Member(to)
	allowed := l.leadership.shared.CheckHandover(ctx, target)
	checks := []Check{
		checkMaster(n.Status()),
		checkLive(to, live),
		checkMode(target, live),
		checkState(n.cfg.ID, target, live),
		checkRank(p, to),
		checkMirror(target, live, l),
		checkContent(l),
	}
	permission := Check{Name: "permission", OK: true, Reason: "the store lets this node make the writes of a handover"}
	if allowed != nil {
		permission.OK, permission.Reason = false, allowed.Error()
	}
	return append(checks, permission), nil
}

// announcedLeader returns the mastership that this node has announced, or nil.
func (n *Node) announcedLeader() *Leader {
	l := n.leading.Load()
	if l == nil {
		return nil
	}
	select {
	case <-l.leadership.announced:
		return l
	default:
		return nil
	}
}

// Plane reads the plane from the store. While the store does not answer it
// returns what [Node.CachedPlane] does, with the error.
func (n *Node) Plane(ctx context.Context) (driver.Plane, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	p, err := n.store.Plane(ctx)
	if err != nil {
		return n.CachedPlane(), fmt.Errorf("read plane: %w", err)
	}
	if n.me().remaining() > 0 {
		return p, nil
	}
	return n.asNow(p), nil // the store may show for a while yet that this node leads
}

// CachedPlane returns the plane as this node last saw it, without asking the store,
// and this node in it as it is now: a master that has lost the store must not go
// on being named by its own picture of the time before. A node that does not lead
// looks at the others only now and then, the seldomer the more there are.
func (n *Node) CachedPlane() driver.Plane {
	return n.asNow(n.cache.estimate())
}

// asNow puts this node into a picture of the plane as it is now.
func (n *Node) asNow(p driver.Plane) driver.Plane {
	me := n.me()
	p.Members = slices.Clone(p.Members)
	for i := range p.Members {
		m := &p.Members[i]
		if m.ID != n.cfg.ID || m.Instance != me.record.Instance {
			continue
		}
		m.Record = me.record
		if !me.candidate && me.record.State != modes.StateMaster {
			m.Candidacy = 0
		}
	}
	return p
}

// CheckStore asks the store whether it takes this node's writes: nil, or why it does
// not.
func (n *Node) CheckStore(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := n.store.Health().Refuses; err != nil {
		return err
	}
	return n.store.Writable(ctx, n.me().record)
}

// Pause keeps all nodes of the plane from being promoted by themselves, for the
// given time or, if that is 0, until Resume. It returns the pause now in force.
func (n *Node) Pause(ctx context.Context, lasting time.Duration) (driver.Pause, error) {
	if lasting < 0 {
		return driver.Pause{}, fmt.Errorf("%w: a pause of %s", rebind.ErrInvalid, lasting)
	}
	p := driver.Pause{Since: now(), By: n.cfg.ID}
	if lasting > 0 {
		until := p.Since.Add(lasting)
		p.Until = &until
	}
	if err := n.store.Pause(ctx, p); err != nil {
		return driver.Pause{}, err
	}
	n.log.Warn("automatic promotion is paused", zap.Duration("for", lasting))
	return p, nil
}

// Resume ends a pause. Without one it changes nothing.
func (n *Node) Resume(ctx context.Context) error {
	if err := n.store.Resume(ctx); err != nil {
		return err
	}
	n.log.Info("automatic promotion is resumed")
	return nil
}

// Forget deletes what is kept of a node that left. It returns [driver.ErrRefused] for
// one that lives, and [driver.ErrNoNode] for one that nothing is kept of.
func (n *Node) Forget(ctx context.Context, id string) error {
	p, err := n.Plane(ctx)
	if err != nil {
		return err
	}
	if _, live := p.Member(id); live {
		return fmt.Errorf("%w: node %s lives", driver.ErrRefused, id)
	}
	return n.store.Forget(ctx, id)
}

// History returns the latest terms, newest first.
func (n *Node) History(ctx context.Context) ([]driver.HistoryEntry, error) {
	return n.store.History(ctx)
}

// Commit stores d if this node is master, and returns when the store has it and View shows
// it; see [Leader.Commit]. On another node it returns an [ErrNotMaster] that names the
// master, if there is one, and nothing was written.
func (n *Node) Commit(ctx context.Context, d rebind.Delta) (rebind.Receipt, error) {
	l := n.leading.Load()
	if l == nil {
		return rebind.Receipt{}, n.notMaster()
	}
	r, err := l.Commit(ctx, d)
	n.noteRoom(&d, err)
	if errors.Is(err, driver.ErrClosed) {
		return r, n.notMaster()
	}
	return r, err
}

// View returns the state as this node has it, or nil while it serves no reads; [Node.Read]
// tells why, and how current the view is. With View and Commit a node is a [rebind.Shared]:
// any hot node reads, and the master writes.
func (n *Node) View() *rebind.View {
	r, _ := n.Read()
	return r.View
}

// notMaster is the [ErrNotMaster] that names the master, if this node knows it.
func (n *Node) notMaster() error {
	p := n.cache.current()
	m, ok := p.Master()
	if !ok || m.ID == n.cfg.ID {
		return ErrNotMaster
	}
	return &MasterError{ID: m.ID, URI: m.URI, Err: ErrNotMaster}
}

// masterExists is the [ErrMasterExists] that names the holder of the term, as far as it is
// among the members.
func masterExists(holder string, member func(id string) (driver.Member, bool)) error {
	m, _ := member(holder)
	return &MasterError{ID: holder, URI: m.URI, Err: ErrMasterExists}
}

// noteRoom says when the store begins to refuse puts for want of room, and when it
// takes them again. Deletes tell nothing.
func (n *Node) noteRoom(d *rebind.Delta, err error) {
	switch {
	case errors.Is(err, driver.ErrStoreFull):
		if !n.full.Swap(true) {
			n.log.Warn("store is full, puts are refused", zap.Error(err))
		}
	case err == nil && n.full.Load() && slices.ContainsFunc(d.Ops, func(op rebind.Op) bool { return op.Put != nil }):
		n.full.Store(false)
		n.log.Info("store has room again")
	}
}

func notReadable(r driver.Record) error {
	return fmt.Errorf("%w: it is %s", ErrNotReadable, r.State)
}
