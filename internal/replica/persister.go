package replica

import (
	"context"
	"crypto/rand"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file holds Persister: which deltas wait, which go together, and how intake is closed and
// opened. persister_group.go commits them. Any goroutine may commit; the loop of the node closes it.

const (
	// eagerGroups is how many transactions a persister has under way even if few deltas
	// wait, so that a single delta is sent at once. Beyond that deltas wait and go
	// together: a transaction costs etcd as much as a hundred writes. Measured: see
	// docs/PERFORMANCE.md.
	eagerGroups = 2
	// maxGroups bounds the transactions under way when many deltas wait.
	maxGroups = 12
	// groupBytes bounds the payloads that go together, so that no delta waits for
	// the transfer of many others. A larger delta goes alone.
	groupBytes = 256 << 10
	// maxWaiting bounds the deltas that wait. Further callers wait until there is room.
	maxWaiting = 4096
)

// Persister takes the deltas of one term. Those that come together are committed in one
// transaction. At most one delta that touches a given memento is under way at a time; the
// next one starts when the outcome of the first is known and the mirror shows it. Deltas
// are served in order of arrival, but one that touches none of the mementos that an earlier
// one waits for can overtake it.
type Persister struct {
	ctx        context.Context // the term's
	writer     driver.Writer
	mirror     *Mirror
	maxPayload int
	slots      chan struct{} // holds a token for each delta that waits
	workers    sync.WaitGroup
	nextGroup  chan struct{} // to a worker that has committed a group and is idle
	closing    chan struct{} // closed by Close

	mu        sync.Mutex // guards the fields below
	waiting   []*request // in order of arrival
	busy      map[rebind.Name]struct{}
	active    int  // groups under way, or about to be
	gathering bool // one of them has still to be gathered
	held      bool
	closed    bool
	settled   chan struct{} // closed when active falls to 0; nil while no caller waits for that
}

// request is a delta whose caller waits for the outcome.
type request struct {
	delta rebind.Delta
	named bool              // its caller has set the id, and may have sent it before
	base  []rebind.Revision // the revisions that it was last tried on
	done  chan struct{}     // closed when the receipt or err is set
	rebind.Receipt
	err error
}

// NewPersister returns a persister that writes through writer until ctx, which is the
// term's, ends. The mirror must be loaded. maxPayload is the most bytes a payload may have.
func NewPersister(ctx context.Context, writer driver.Writer, mirror *Mirror, maxPayload int) *Persister {
	return &Persister{
		ctx:        ctx,
		writer:     writer,
		mirror:     mirror,
		maxPayload: maxPayload,
		slots:      make(chan struct{}, maxWaiting),
		nextGroup:  make(chan struct{}),
		closing:    make(chan struct{}),
		busy:       make(map[rebind.Name]struct{}),
	}
}

// Commit stores d and returns when the store has it and the mirror shows it. If d was
// stored before under its [rebind.Delta.ID], Commit stores nothing and returns the first
// result.
//
// It returns an [rebind.ErrInvalid] or [driver.ErrTooLarge] for a delta that can never be
// stored, a [*driver.ConflictError] for one whose expectations are not met,
// [driver.ErrClosed] for one that was not sent because this master writes no more, and
// otherwise the error of the [driver.Writer]. If ctx ends while the delta waits for its
// turn, Commit returns the cause, and nothing was written. If ctx ends while the delta is
// under way, the error is [rebind.ErrUnknown], and the delta goes on.
func (p *Persister) Commit(ctx context.Context, d rebind.Delta) (rebind.Receipt, error) {
	if err := driver.CheckDelta(&d, p.maxPayload); err != nil {
		return rebind.Receipt{}, err
	}
	r := &request{delta: d, named: d.ID != "", done: make(chan struct{})}
	if !r.named {
		r.delta.ID = rand.Text()
	}
	if err := p.enqueue(ctx, r); err != nil {
		return rebind.Receipt{}, err
	}
	termEnd := p.ctx.Done()
	for {
		select {
		case <-r.done:
			return r.Receipt, r.err
		case <-termEnd:
			if p.withdraw(r) {
				return rebind.Receipt{}, p.closedError()
			}
			termEnd = nil // it is under way, so its outcome will be known
		case <-ctx.Done():
			if p.withdraw(r) {
				return rebind.Receipt{}, waitError(ctx)
			}
			return rebind.Receipt{}, fmt.Errorf("%w: gave up waiting: %w", rebind.ErrUnknown, context.Cause(ctx))
		}
	}
}

// waitError is the error of a caller whose ctx ended before its delta was started.
func waitError(ctx context.Context) error {
	return fmt.Errorf("wait for a turn to write: %w", context.Cause(ctx))
}

// closedError is the error of a delta that was not sent before the term ended.
func (p *Persister) closedError() error {
	return fmt.Errorf("%w: %w", driver.ErrClosed, context.Cause(p.ctx))
}

// enqueue appends r to the deltas that wait, when there is room.
func (p *Persister) enqueue(ctx context.Context, r *request) error {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return waitError(ctx)
	case <-p.ctx.Done():
		return p.closedError()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		<-p.slots
		return driver.ErrClosed
	case ctx.Err() != nil:
		<-p.slots
		return waitError(ctx)
	}
	p.waiting = append(p.waiting, r)
	p.startGroup()
	return nil
}

// withdraw takes r back if it has not been started.
func (p *Persister) withdraw(r *request) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.waiting, r)
	if i < 0 {
		return false
	}
	p.waiting = slices.Delete(p.waiting, i, i+1)
	<-p.slots
	p.startGroup()
	return true
}

// startGroup has a worker gather a group of the deltas that wait, if another transaction
// may be under way. The caller holds mu.
func (p *Persister) startGroup() {
	if p.held || p.gathering || len(p.waiting) == 0 {
		return
	}
	if p.active < eagerGroups || p.active < maxGroups && p.halfFull() {
		p.active++
		p.gathering = true
		select {
		case p.nextGroup <- struct{}{}:
		default:
			p.workers.Go(p.workLoop)
		}
	}
}

// halfFull reports whether the deltas that wait fill at least half a transaction. The
// caller holds mu.
func (p *Persister) halfFull() bool {
	ops := 0
	for _, r := range p.waiting {
		if ops += len(r.delta.Ops); ops >= driver.MaxOps/2 {
			return true
		}
	}
	return false
}

// gather takes a group from the deltas that wait: in order, as many as fit together and
// touch nothing that is under way. A delta that has to wait keeps its mementos from those
// behind it, so that none waits for ever. The caller holds mu.
func (p *Persister) gather() []*request {
	if p.held {
		return nil
	}
	var group []*request
	var wanted map[rebind.Name]struct{} // by the deltas that have to wait
	ops, bytes := 0, 0
	left := p.waiting[:0]
	for i, r := range p.waiting {
		size := r.delta.Size()
		if len(group) > 0 && (ops+len(r.delta.Ops) > driver.MaxOps || bytes+size > groupBytes) {
			left = append(left, p.waiting[i:]...)
			break
		}
		if !p.free(&r.delta, wanted) {
			if wanted == nil {
				wanted = make(map[rebind.Name]struct{})
			}
			mark(wanted, &r.delta)
			left = append(left, r)
			continue
		}
		mark(p.busy, &r.delta)
		group = append(group, r)
		ops, bytes = ops+len(r.delta.Ops), bytes+size
		<-p.slots
	}
	clear(p.waiting[len(left):])
	p.waiting = left
	return group
}

// free reports whether no other delta has, or waits longer for, a memento of d.
func (p *Persister) free(d *rebind.Delta, wanted map[rebind.Name]struct{}) bool {
	for i := range d.Ops {
		_, busy := p.busy[d.Ops[i].Name]
		_, before := wanted[d.Ops[i].Name]
		if busy || before {
			return false
		}
	}
	return true
}

// mark adds the mementos of d to names.
func mark(names map[rebind.Name]struct{}, d *rebind.Delta) {
	for i := range d.Ops {
		names[d.Ops[i].Name] = struct{}{}
	}
}

// workLoop commits groups until the term or the persister ends. One goroutine goes on from
// group to group: a new one would have its stack grown several times on the way to the
// store.
func (p *Persister) workLoop() {
	for {
		p.runGroup()
		select {
		case <-p.nextGroup:
		case <-p.closing:
			return
		case <-p.ctx.Done():
			return
		}
	}
}

// runGroup gathers a group, commits it and starts the next one. Before it gathers it yields
// the processor once: one answer wakes many callers, and those that write again at once
// then go together, not the first of them alone.
func (p *Persister) runGroup() {
	runtime.Gosched()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gathering = false
	if group := p.gather(); len(group) > 0 {
		p.startGroup() // for the deltas that did not fit into one
		p.mu.Unlock()
		p.commitGroup(group)
		p.mu.Lock()
		defer p.startGroup() // the deltas that waited for these mementos, or for their turn
	}
	p.active--
	if p.active == 0 && p.settled != nil {
		close(p.settled)
		p.settled = nil
	}
}

// Shut closes intake: deltas that are not under way wait for [Persister.Resume] or
// [Persister.Close].
func (p *Persister) Shut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = true
}

// Hold is [Persister.Shut], and blocks until every delta under way is settled. If ctx ends
// first it returns its cause, with intake still closed.
func (p *Persister) Hold(ctx context.Context) error {
	p.Shut()
	p.mu.Lock()
	if p.active == 0 {
		p.mu.Unlock()
		return nil
	}
	if p.settled == nil {
		p.settled = make(chan struct{})
	}
	settled := p.settled
	p.mu.Unlock()
	select {
	case <-settled:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Resume opens intake again after Shut or Hold.
func (p *Persister) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = false
	p.startGroup()
}

// Close ends intake for good: deltas that wait, and those that come later, get
// [driver.ErrClosed]. It blocks until the deltas under way are settled or ctx ends.
func (p *Persister) Close(ctx context.Context) error {
	p.mu.Lock()
	if !p.closed {
		close(p.closing)
	}
	p.closed = true
	for _, r := range p.waiting {
		r.err = driver.ErrClosed
		close(r.done)
		<-p.slots
	}
	p.waiting = nil
	p.mu.Unlock()
	if err := p.Hold(ctx); err != nil {
		return err
	}
	p.workers.Wait()
	return nil
}
