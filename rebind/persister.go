package rebind

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Writer commits deltas to the store, one transaction each. It is what a term of
// mastership offers.
type Writer interface {
	// Commit writes d if, for each operation i, the memento was last modified at
	// base[i] (0: is absent): all of it or nothing. d.ID must not be empty.
	//
	// Commit settles a doubtful outcome by itself and blocks until it has, or
	// until nothing can be learned any more, so it may outlast ctx. Once the term
	// is over it returns [ErrClosed] for what it did not send and [ErrFenced] for
	// what the store refused. It returns a [*BaseError] when a memento is not at
	// its base, [ErrTooLarge], [ErrStoreFull] or [ErrUnavailable]; in all these
	// cases nothing was written. Only after [ErrUnknown] is the outcome open.
	Commit(ctx context.Context, d Delta, base []Revision) (Revision, error)
}

// BaseError is returned by a [Writer] whose delta met mementos in another
// revision than its base.
type BaseError struct {
	// Actual holds the modified revision of each operation's memento, 0 for none.
	Actual []Revision
}

// Error implements error.
func (e *BaseError) Error() string {
	return fmt.Sprintf("mementos are at revisions %v", e.Actual)
}

// Receipt is the proof that a delta is stored.
type Receipt struct {
	Revision Revision
	// Replaced holds, for each operation, the modified revision of the memento it
	// replaced or deleted, 0 if there was none.
	Replaced []Revision
}

// maxUnderWay bounds the deltas a persister has under way. etcd shares one disk
// sync among transactions that arrive together; more only wait longer.
const maxUnderWay = 128

// maxRebase bounds how often a delta is tried again because somebody else, whom
// only the fence allows, changed a memento under it.
const maxRebase = 5

// Persister takes the deltas of one term. At most one delta that touches a given
// memento is under way at a time, and only when its outcome is known and the
// mirror shows it does the next one start. Those that wait are served in order,
// but for what can overtake without touching what they wait for.
type Persister struct {
	ctx        context.Context // the term's
	writer     Writer
	mirror     *Mirror
	maxPayload int

	mu      sync.Mutex // guards the fields below
	waiting []*waiter  // in order of arrival
	busy    map[Name]struct{}
	active  int // deltas admitted and not settled
	held    bool
	closed  bool
	settled chan struct{} // closed when active falls to 0; nil while nobody waits
}

// waiter is a delta that waits to be admitted.
type waiter struct {
	delta *Delta
	done  chan struct{} // closed when it is admitted, or refused with err
	err   error
}

// NewPersister returns a persister that writes through writer until ctx, which
// is the term's, ends. The mirror must be loaded. maxPayload is the most bytes a
// payload may have.
func NewPersister(ctx context.Context, writer Writer, mirror *Mirror, maxPayload int) *Persister {
	return &Persister{
		ctx:        ctx,
		writer:     writer,
		mirror:     mirror,
		maxPayload: maxPayload,
		busy:       make(map[Name]struct{}),
	}
}

// Commit stores d and returns when the store has it and the mirror shows it.
//
// It returns an [ErrInvalid] or [ErrTooLarge] for a delta that can never be
// stored, a [*ConflictError] for one whose expectations are not met, [ErrClosed]
// for one that was not sent because this master writes no more, and what the
// [Writer] returns.
// If ctx ends while the delta waits for its turn Commit returns the cause, and
// nothing was written. If it ends while the delta is under way the error is
// [ErrUnknown], and the delta goes on.
func (p *Persister) Commit(ctx context.Context, d Delta) (Receipt, error) {
	if err := d.Check(p.maxPayload); err != nil {
		return Receipt{}, err
	}
	if d.ID == "" {
		d.ID = rand.Text()
	}
	if err := p.admit(ctx, &d); err != nil {
		return Receipt{}, err
	}
	type outcome struct {
		receipt Receipt
		err     error
	}
	done := make(chan outcome, 1)
	go func() {
		defer p.release(&d)
		receipt, err := p.store(d)
		done <- outcome{receipt, err}
	}()
	select {
	case o := <-done:
		return o.receipt, o.err
	case <-ctx.Done():
		return Receipt{}, fmt.Errorf("%w: gave up waiting: %w", ErrUnknown, context.Cause(ctx))
	}
}

// admit waits for d's turn and then counts it as under way.
func (p *Persister) admit(ctx context.Context, d *Delta) error {
	w := &waiter{delta: d, done: make(chan struct{})}
	p.mu.Lock()
	p.waiting = append(p.waiting, w)
	p.serve()
	p.mu.Unlock()
	var err error
	select {
	case <-w.done:
	case <-ctx.Done():
	case <-p.ctx.Done():
	}
	switch {
	case ctx.Err() != nil:
		err = fmt.Errorf("wait for a turn to write: %w", context.Cause(ctx))
	case p.ctx.Err() != nil:
		err = fmt.Errorf("%w: %w", ErrClosed, context.Cause(p.ctx))
	default:
		return w.err
	}
	p.withdraw(w)
	return err
}

// serve admits whom it can, in order; the caller holds mu. A delta that has to
// wait keeps its mementos from those behind it, so that nobody waits for ever.
func (p *Persister) serve() {
	if p.closed {
		for _, w := range p.waiting {
			w.err = ErrClosed
			close(w.done)
		}
		p.waiting = nil
		return
	}
	wanted := make(map[Name]struct{})
	for i := 0; i < len(p.waiting) && !p.held && p.active < maxUnderWay; {
		w := p.waiting[i]
		if !p.free(w.delta, wanted) {
			for j := range w.delta.Ops {
				wanted[w.delta.Ops[j].Name] = struct{}{}
			}
			i++
			continue
		}
		for j := range w.delta.Ops {
			p.busy[w.delta.Ops[j].Name] = struct{}{}
		}
		p.active++
		p.waiting = slices.Delete(p.waiting, i, i+1)
		close(w.done)
	}
}

// free reports whether nobody has, or waits longer for, a memento of d.
func (p *Persister) free(d *Delta, wanted map[Name]struct{}) bool {
	for i := range d.Ops {
		_, busy := p.busy[d.Ops[i].Name]
		_, before := wanted[d.Ops[i].Name]
		if busy || before {
			return false
		}
	}
	return true
}

// withdraw takes back a delta that was not started, admitted or not.
func (p *Persister) withdraw(w *waiter) {
	p.mu.Lock()
	i := slices.Index(p.waiting, w)
	if i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
		p.serve()
	}
	p.mu.Unlock()
	if i < 0 && w.err == nil {
		p.release(w.delta)
	}
}

// release ends the claims of a delta that was admitted.
func (p *Persister) release(d *Delta) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range d.Ops {
		delete(p.busy, d.Ops[i].Name)
	}
	p.active--
	if p.active == 0 && p.settled != nil {
		close(p.settled)
		p.settled = nil
	}
	p.serve()
}

// store commits d on the base that the mirror shows, and on the true one where
// the mirror turns out to be behind.
func (p *Persister) store(d Delta) (Receipt, error) {
	base := make([]Revision, len(d.Ops))
	view := p.mirror.View()
	for i := range d.Ops {
		base[i] = d.Ops[i].Expect.base(view.modified(d.Ops[i].Name))
	}
	for range maxRebase {
		rev, err := p.writer.Commit(p.ctx, d, base)
		var moved *BaseError
		if errors.As(err, &moved) {
			if err := expectations(&d, moved.Actual); err != nil {
				return Receipt{}, err
			}
			copy(base, moved.Actual)
			continue
		}
		if err != nil {
			return Receipt{}, err
		}
		if changes(&d, base) {
			// The answer waits for the mirror, so that a reader here finds what was
			// acknowledged. A term that ends meanwhile does not undo the write.
			_ = p.mirror.Reach(p.ctx, rev)
		}
		return Receipt{Revision: rev, Replaced: base}, nil
	}
	return Receipt{}, fmt.Errorf("%w: others keep changing the same mementos", ErrConflict)
}

// noBase is a base that no memento has: the store answers with the true one.
const noBase Revision = -1

// base returns the revision to commit on for a memento that the mirror shows at
// seen. Whether an expectation is met is for the store to judge, not the mirror.
func (e Expect) base(seen Revision) Revision {
	switch {
	case e > 0:
		return Revision(e)
	case e == ExpectAbsent:
		return 0
	case e == ExpectPresent && seen == 0:
		return noBase
	default:
		return seen
	}
}

// changes reports whether d changed anything: deleting what is not there does not.
func changes(d *Delta, base []Revision) bool {
	for i := range d.Ops {
		if d.Ops[i].Put != nil || base[i] != 0 {
			return true
		}
	}
	return false
}

// expectations checks d against what the store really holds.
func expectations(d *Delta, actual []Revision) error {
	for i := range d.Ops {
		op := &d.Ops[i]
		if !op.Expect.Met(actual[i]) {
			return &ConflictError{Op: i, Name: op.Name, Expect: op.Expect, Actual: actual[i]}
		}
	}
	return nil
}

// Hold closes intake and blocks until every delta under way is settled; new ones
// wait for [Persister.Resume] or [Persister.Close]. If ctx ends first Hold
// returns its cause, with intake still closed.
func (p *Persister) Hold(ctx context.Context) error {
	p.mu.Lock()
	p.held = true
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

// Resume opens intake again after Hold.
func (p *Persister) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = false
	p.serve()
}

// Close ends intake for good: deltas that wait and those that come later get
// [ErrClosed]. It blocks until the deltas under way are settled or ctx ends.
func (p *Persister) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.serve()
	p.mu.Unlock()
	return p.Hold(ctx)
}
