package rebind

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
)

// Writer commits deltas to the store, one transaction each. It is what a term of
// mastership offers.
type Writer interface {
	// Commit writes d if, for each operation i, the memento was last modified at
	// base[i] (0: is absent): all of it or nothing. d.ID must not be empty.
	//
	// Commit settles a doubtful outcome by itself and blocks until it has, or
	// until nothing can be learned any more, so it may outlast ctx. It returns
	// [ErrFenced] once the term is over, a [*BaseError] when a memento is not at
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

// maxInFlight bounds the transactions a persister has under way. etcd shares one
// disk sync among those that arrive together; more only wait longer.
const maxInFlight = 128

// maxRebase bounds how often a delta is tried again because somebody else, whom
// only the fence allows, changed a memento under it.
const maxRebase = 5

// Persister takes the deltas of one term. At most one delta that touches a given
// memento is under way at a time, and only when its outcome is known and the
// mirror shows it does the next one start.
type Persister struct {
	ctx        context.Context // the term's
	writer     Writer
	mirror     *Mirror
	maxPayload int
	slots      chan struct{}

	mu      sync.Mutex // guards the fields below
	busy    map[Name]chan struct{}
	held    chan struct{} // not nil: intake waits until it is closed
	closed  bool
	active  int           // deltas admitted and not settled
	settled chan struct{} // closed when active falls to 0; nil while nobody waits
}

// NewPersister returns a persister that writes through writer until ctx, which
// is the term's, ends. maxPayload is the most bytes a payload may have.
func NewPersister(ctx context.Context, writer Writer, mirror *Mirror, maxPayload int) *Persister {
	return &Persister{
		ctx:        ctx,
		writer:     writer,
		mirror:     mirror,
		maxPayload: maxPayload,
		slots:      make(chan struct{}, maxInFlight),
		busy:       make(map[Name]chan struct{}),
	}
}

// Commit stores d and returns when the store has it and the mirror shows it.
//
// It returns an [ErrInvalid] or [ErrTooLarge] for a delta that can never be
// stored, a [*ConflictError] for one whose expectations are not met, [ErrClosed]
// or [ErrFenced] when this master writes no more, and what the [Writer] returns.
// If ctx ends while the delta is under way the error is [ErrUnknown], and the
// delta goes on.
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

// admit waits until intake is open, a slot is free and no other delta under way
// touches a memento of d, and then counts d as under way.
func (p *Persister) admit(ctx context.Context, d *Delta) error {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("wait for a turn to write: %w", context.Cause(ctx))
	case <-p.ctx.Done():
		return p.over()
	}
	for {
		wait, err := p.claim(d)
		if err == nil && wait == nil {
			return nil
		}
		if err == nil {
			select {
			case <-wait:
				continue
			case <-ctx.Done():
				err = fmt.Errorf("wait for a turn to write: %w", context.Cause(ctx))
			case <-p.ctx.Done():
				err = p.over()
			}
		}
		<-p.slots
		return err
	}
}

func (p *Persister) over() error {
	return fmt.Errorf("%w: %w", ErrFenced, context.Cause(p.ctx))
}

// claim takes all mementos of d, or none and returns what to wait for.
func (p *Persister) claim(d *Delta) (<-chan struct{}, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	if p.held != nil {
		return p.held, nil
	}
	for i := range d.Ops {
		if wait, ok := p.busy[d.Ops[i].Name]; ok {
			return wait, nil
		}
	}
	free := make(chan struct{})
	for i := range d.Ops {
		p.busy[d.Ops[i].Name] = free
	}
	p.active++
	return nil, nil
}

// release ends the claims of d.
func (p *Persister) release(d *Delta) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.busy[d.Ops[0].Name])
	for i := range d.Ops {
		delete(p.busy, d.Ops[i].Name)
	}
	p.active--
	if p.active == 0 && p.settled != nil {
		close(p.settled)
		p.settled = nil
	}
	<-p.slots
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
		// The answer waits for the mirror, so that a reader here finds what was
		// acknowledged. A term that ends meanwhile does not undo the write.
		_ = p.mirror.Reach(p.ctx, rev)
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
	if p.held == nil {
		p.held = make(chan struct{})
	}
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
	if p.held != nil {
		close(p.held)
		p.held = nil
	}
}

// Close ends intake for good: deltas that wait and those that come later get
// [ErrClosed]. It blocks until the deltas under way are settled or ctx ends.
func (p *Persister) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	if p.held == nil {
		p.held = make(chan struct{})
	}
	p.mu.Unlock()
	err := p.Hold(ctx)
	p.Resume()
	return err
}
