package replica

import (
	"errors"
	"fmt"
	"slices"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/clock"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file commits groups of deltas, and settles each delta of a group by itself.

// A group is what a [Persister] commits in one transaction: deltas that touch
// different mementos, each with a caller that waits for it. They share the
// transaction and its revision, and nothing else: one whose expectations are not
// met leaves the group, and what the store will not take together is tried alone.

// maxRebase bounds how often a group is tried again because somebody else, whom
// only the fence allows, changed a memento under it.
const maxRebase = 5

// commit commits a group on the base that the mirror shows, and on the true one
// where the mirror turns out to be behind. Whoever's expectations are not met
// leaves the group.
func (p *Persister) commit(group []*request) {
	group = p.prepare(group)
	if len(group) == 0 {
		return
	}
	for range maxRebase {
		d, base := together(group)
		rev, err := p.writer.Commit(p.ctx, d, base)
		var moved *driver.BaseError
		switch {
		case errors.As(err, &moved):
			if group = p.judge(group, moved.Actual); len(group) == 0 {
				return
			}
			continue
		case err == nil:
			if changes(&d, base) {
				p.mirror.Advance(&d, base, rev)
				// The answer waits for the mirror, so that a reader here finds what was
				// acknowledged. A term that ends meanwhile does not undo the write.
				_ = p.mirror.Reach(p.ctx, rev)
			}
		case len(group) > 1 && (errors.Is(err, driver.ErrTooLarge) || errors.Is(err, driver.ErrStoreFull)):
			// What cannot be stored together may be stored alone.
			for i := range group {
				p.commit(group[i : i+1])
			}
			return
		}
		for _, r := range group {
			p.finish(r, rebind.Receipt{Revision: rev, Replaced: r.base}, err)
		}
		return
	}
	for _, r := range group {
		p.finish(r, rebind.Receipt{}, fmt.Errorf("%w: others keep changing the same mementos", rebind.ErrConflict))
	}
}

// prepare answers those of a group that were stored before, and returns the others
// on the base that the mirror shows.
func (p *Persister) prepare(group []*request) []*request {
	view := p.mirror.View()
	left := make([]*request, 0, len(group))
	for _, r := range group {
		if receipt, ok := r.repeats(view); ok {
			p.finish(r, receipt, nil)
			continue
		}
		r.rebase(view)
		left = append(left, r)
	}
	return left
}

// judge settles those of a group whose expectations are not met by what the store
// really holds, and returns the others, on their true base.
func (p *Persister) judge(group []*request, actual []rebind.Revision) []*request {
	left := make([]*request, 0, len(group))
	for _, r := range group {
		r.base, actual = actual[:len(r.base):len(r.base)], actual[len(r.base):]
		receipt, again, err := p.recognise(r)
		switch {
		case again:
			p.finish(r, receipt, nil)
			continue
		case err == nil:
			err = expectations(&r.delta, r.base)
		}
		if err != nil {
			p.finish(r, rebind.Receipt{}, err)
			continue
		}
		left = append(left, r)
	}
	return left
}

// recognise tells whether what has changed the mementos of r behind the mirror's
// back was r itself: an attempt of which its caller did not learn the outcome. The
// mirror tells, once it has come that far.
func (p *Persister) recognise(r *request) (receipt rebind.Receipt, again bool, err error) {
	if !r.named {
		return rebind.Receipt{}, false, nil
	}
	if err := p.mirror.Reach(p.ctx, slices.Max(r.base)); err != nil {
		return rebind.Receipt{}, false, p.over()
	}
	receipt, again = r.repeats(p.mirror.View())
	return receipt, again, nil
}

// repeats returns the first result of a delta that was stored before, as far as a
// view tells. One memento that carries its id proves it: a delta is stored whole.
// Nobody else changes these mementos while r has its turn, so two commits of one id
// are not both stored.
func (r *request) repeats(v *rebind.View) (rebind.Receipt, bool) {
	if !r.named {
		return rebind.Receipt{}, false
	}
	id := driver.MarkOf(r.delta.ID)
	first := rebind.Receipt{Replaced: make([]rebind.Revision, len(r.delta.Ops))}
	for i := range r.delta.Ops {
		first.Replaced[i] = -1
		op := &r.delta.Ops[i]
		m := v.Change(op.Name).Memento
		if op.Put == nil || m == nil || m.By != id {
			continue
		}
		first.Revision = m.Modified
		if m.Version == 1 {
			first.Replaced[i] = 0
		}
	}
	return first, first.Revision != 0
}

// finish tells the caller of r what became of it.
func (p *Persister) finish(r *request, receipt rebind.Receipt, err error) {
	p.mu.Lock()
	for i := range r.delta.Ops {
		delete(p.busy, r.delta.Ops[i].Name)
	}
	p.mu.Unlock()
	if err == nil {
		r.Receipt = receipt
	}
	r.err = err
	close(r.done)
}

// rebase sets the base that a view shows.
func (r *request) rebase(v *rebind.View) {
	r.base = make([]rebind.Revision, len(r.delta.Ops))
	for i := range r.delta.Ops {
		op := &r.delta.Ops[i]
		r.base[i] = baseOf(op, v.Modified(op.Name))
	}
}

// together makes one delta of a group.
func together(group []*request) (rebind.Delta, []rebind.Revision) {
	if len(group) == 1 {
		return group[0].delta, group[0].base
	}
	deltas := make([]rebind.Delta, 0, len(group))
	var base []rebind.Revision
	for _, r := range group {
		deltas = append(deltas, r.delta)
		base = append(base, r.base...)
	}
	return rebind.Join(deltas...), base
}

// noBase is a base that no memento has: the store answers with the true one.
const noBase rebind.Revision = -1

// baseOf returns the revision to commit on for a memento that the mirror shows at
// seen. Whether an expectation is met is for the store to judge, not the mirror. But
// one that the mirror does not show to be met is not to be sent as if it were: of a
// deletion whose answer is lost nothing but its base tells whether it was applied.
func baseOf(op *rebind.Op, seen rebind.Revision) rebind.Revision {
	if !op.Met(seen) {
		return noBase
	}
	return seen
}

// changes reports whether d changed anything: deleting what is not there does not.
func changes(d *rebind.Delta, base []rebind.Revision) bool {
	for i := range d.Ops {
		if d.Ops[i].Put != nil || base[i] != 0 {
			return true
		}
	}
	return false
}

// expectations checks d against what the store really holds.
func expectations(d *rebind.Delta, actual []rebind.Revision) error {
	for i := range d.Ops {
		op := &d.Ops[i]
		if !op.Met(actual[i]) {
			return &driver.ConflictError{Op: i, Name: op.Name, Expect: op.Expect, Actual: actual[i]}
		}
	}
	return nil
}

// Advance takes in a delta that the store has committed at revision at on the given
// base, so that nobody need wait for the watch to bring it. It does so only if the
// copy has everything that came before, and its past is the store's; otherwise the
// watch will. So it will for a delta that only deletes: where the answer to that was lost, it is known to be made at
// or before that revision, which then is another write's.
func (m *Mirror) Advance(d *rebind.Delta, base []rebind.Revision, at rebind.Revision) {
	if !slices.ContainsFunc(d.Ops, func(op rebind.Op) bool { return op.Put != nil }) {
		return
	}
	m.writing.Lock()
	defer m.writing.Unlock()
	if m.draft == nil || m.Revision() != at-1 || m.outlived() || !m.takesAhead() {
		return
	}
	changes := make([]rebind.Change, 0, len(d.Ops))
	for i := range d.Ops {
		op := &d.Ops[i]
		c := rebind.Change{Name: op.Name, Revision: at}
		if op.Put != nil {
			var ok bool
			if c.Memento, ok = m.draft.Next(op, driver.MarkOf(d.OpID(i)), base[i], at); !ok {
				return
			}
		} else if base[i] == 0 {
			continue // nothing was deleted
		}
		changes = append(changes, m.rules.Judge(c))
	}
	for _, c := range changes {
		m.draft.Apply(c)
	}
	m.publish(m.draft.View(at, m.changes), changes, clock.Moment{})
}
