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

// This file is the persister: which deltas wait, which go together, and when they are sent.
// group.go commits them. Any goroutine may commit; the loop of the node closes it.

const (
	// eagerGroups are the transactions that a persister has under way even if little
	// waits, so that a lone delta is sent at once. Beyond that deltas wait and go
	// together: etcd spends on each transaction what it could spend on a hundred
	// writes. Measured: see docs/PERFORMANCE.md.
	eagerGroups = 2
	// maxGroups bounds the transactions under way when so much waits that each of
	// them is worth it.
	maxGroups = 12
	// groupBytes bounds the payloads that go together, so that no delta waits for
	// the transfer of many others. A larger delta goes alone.
	groupBytes = 256 << 10
	// maxWaiting bounds the deltas that wait; further callers wait for room.
	maxWaiting = 4096
)

// Persister takes the deltas of one term. Those that come together are committed
// together, each whole, in one transaction. At most one delta that touches a given
// memento is under way at a time, and only when its outcome is known and the
// mirror shows it does the next one start. Those that wait are served in order,
// but for what can overtake without touching what they wait for.
type Persister struct {
	ctx        context.Context // the term's
	writer     driver.Writer
	mirror     *Mirror
	maxPayload int
	room       chan struct{} // holds a token for each delta that waits
	workers    sync.WaitGroup
	again      chan struct{} // to one that has committed a group and is idle
	end        chan struct{} // closed by Close

	mu        sync.Mutex // guards the fields below
	waiting   []*request // in order of arrival
	busy      map[rebind.Name]struct{}
	active    int  // groups under way, or about to be
	gathering bool // one of them has still to be gathered
	held      bool
	closed    bool
	settled   chan struct{} // closed when active falls to 0; nil while nobody waits
}

// request is a delta on its way.
type request struct {
	delta rebind.Delta
	named bool              // by its caller, who may have sent it before
	base  []rebind.Revision // that it was last tried on
	done  chan struct{}     // closed with one of the next set
	rebind.Receipt
	err error
}

// NewPersister returns a persister that writes through writer until ctx, which
// is the term's, ends. The mirror must be loaded. maxPayload is the most bytes a
// payload may have.
func NewPersister(ctx context.Context, writer driver.Writer, mirror *Mirror, maxPayload int) *Persister {
	return &Persister{
		ctx:        ctx,
		writer:     writer,
		mirror:     mirror,
		maxPayload: maxPayload,
		room:       make(chan struct{}, maxWaiting),
		again:      make(chan struct{}),
		end:        make(chan struct{}),
		busy:       make(map[rebind.Name]struct{}),
	}
}

// Commit stores d and returns when the store has it and the mirror shows it. It
// stores nothing, and returns the first result, if it finds that d was stored before
// under its [rebind.Delta.ID].
//
// It returns an [rebind.ErrInvalid] or [driver.ErrTooLarge] for a delta that can never be
// stored, a [*driver.ConflictError] for one whose expectations are not met, [driver.ErrClosed]
// for one that was not sent because this master writes no more, and what the
// [driver.Writer] returns.
// If ctx ends while the delta waits for its turn Commit returns the cause, and
// nothing was written. If it ends while the delta is under way the error is
// [rebind.ErrUnknown], and the delta goes on.
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
	over := p.ctx.Done()
	for {
		select {
		case <-r.done:
			return r.Receipt, r.err
		case <-over:
			if p.withdraw(r) {
				return rebind.Receipt{}, p.over()
			}
			over = nil // it is under way, and what becomes of it will be known
		case <-ctx.Done():
			if p.withdraw(r) {
				return rebind.Receipt{}, gaveUp(ctx)
			}
			return rebind.Receipt{}, fmt.Errorf("%w: gave up waiting: %w", rebind.ErrUnknown, context.Cause(ctx))
		}
	}
}

func gaveUp(ctx context.Context) error {
	return fmt.Errorf("wait for a turn to write: %w", context.Cause(ctx))
}

func (p *Persister) over() error { return fmt.Errorf("%w: %w", driver.ErrClosed, context.Cause(p.ctx)) }

// enqueue puts r behind those that wait, when there is room.
func (p *Persister) enqueue(ctx context.Context, r *request) error {
	select {
	case p.room <- struct{}{}:
	case <-ctx.Done():
		return gaveUp(ctx)
	case <-p.ctx.Done():
		return p.over()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		<-p.room
		return driver.ErrClosed
	case ctx.Err() != nil:
		<-p.room
		return gaveUp(ctx)
	}
	p.waiting = append(p.waiting, r)
	p.serve()
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
	<-p.room
	p.serve()
	return true
}

// serve sees that what waits is gathered, if another transaction may be under way;
// the caller holds mu.
func (p *Persister) serve() {
	if p.held || p.gathering || len(p.waiting) == 0 {
		return
	}
	if p.active < eagerGroups || p.active < maxGroups && p.crowded() {
		p.active++
		p.gathering = true
		select {
		case p.again <- struct{}{}:
		default:
			p.workers.Go(p.work)
		}
	}
}

// crowded reports whether what waits fills at least half a transaction; the caller
// holds mu.
func (p *Persister) crowded() bool {
	ops := 0
	for _, r := range p.waiting {
		if ops += len(r.delta.Ops); ops >= driver.MaxOps/2 {
			return true
		}
	}
	return false
}

// gather takes a group from those that wait: in order, as many as fit together
// and touch nothing that is under way. A delta that has to wait keeps its
// mementos from those behind it, so that nobody waits for ever. The caller holds
// mu.
func (p *Persister) gather() []*request {
	if p.held {
		return nil
	}
	var group []*request
	var wanted map[rebind.Name]struct{} // by those that have to wait
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
		<-p.room
	}
	clear(p.waiting[len(left):])
	p.waiting = left
	return group
}

// free reports whether nobody has, or waits longer for, a memento of d.
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

func mark(names map[rebind.Name]struct{}, d *rebind.Delta) {
	for i := range d.Ops {
		names[d.Ops[i].Name] = struct{}{}
	}
}

// work commits groups until the term, or the persister, ends. One goroutine goes on from
// group to group: another would have its stack grown several times on the way to the store.
func (p *Persister) work() {
	for {
		p.run()
		select {
		case <-p.again:
		case <-p.end:
			return
		case <-p.ctx.Done():
			return
		}
	}
}

// run gathers a group, commits it and lets the next one go. Before it gathers it
// stands back once for whoever can run: an answer to many wakes many, and those that
// write again at once then go together, not the first of them alone.
func (p *Persister) run() {
	runtime.Gosched()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gathering = false
	if group := p.gather(); len(group) > 0 {
		p.serve() // for what was too much for one
		p.mu.Unlock()
		p.commit(group)
		p.mu.Lock()
		defer p.serve() // what waited for these mementos, or for its turn
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

// Hold is [Persister.Shut] and blocks until every delta under way is settled. If ctx
// ends first it returns its cause, with intake still closed.
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
	p.serve()
}

// Close ends intake for good: deltas that wait and those that come later get
// [driver.ErrClosed]. It blocks until the deltas under way are settled or ctx ends.
func (p *Persister) Close(ctx context.Context) error {
	p.mu.Lock()
	if !p.closed {
		close(p.end)
	}
	p.closed = true
	for _, r := range p.waiting {
		r.err = driver.ErrClosed
		close(r.done)
		<-p.room
	}
	p.waiting = nil
	p.mu.Unlock()
	if err := p.Hold(ctx); err != nil {
		return err
	}
	p.workers.Wait()
	return nil
}
