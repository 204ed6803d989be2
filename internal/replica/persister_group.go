package replica

import (
	"errors"
	"fmt"
	"slices"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file commits a group of deltas in one transaction, and settles each delta of it by itself.
// The workers of the persister call it.

// A group is a set of deltas that a [Persister] commits in one transaction. They touch
// different mementos, and for each of them a caller waits. They share the transaction and
// its revision, and nothing else: a delta whose expectations are not met leaves the group,
// and deltas that the store does not accept together are tried one by one.

// maxRebase bounds how often a group is tried again because another writer, which only the
// fence allows, changed one of its mementos.
const maxRebase = 5

// commitGroup commits a group on the base that the mirror shows, and on the true base if
// the mirror turns out to be behind. A delta whose expectations are not met leaves the
// group.
func (p *Persister) commitGroup(group []*request) {
	group = p.prepare(group)
	if len(group) == 0 {
		return
	}
	for range maxRebase {
		writes := writesOf(group)
		rev, err := p.writer.Commit(p.ctx, writes)
		var moved *driver.BaseError
		switch {
		case errors.As(err, &moved):
			if group = p.checkGroup(group, moved.Actual); len(group) == 0 {
				return
			}
			continue
		case err == nil:
			if changesAnything(writes) {
				p.mirror.Advance(writes, rev)
				// The answer waits for the mirror, so that a reader here finds what was
				// acknowledged. A term that ends meanwhile does not undo the write.
				_ = p.mirror.Reach(p.ctx, rev)
			}
		case len(group) > 1 && (errors.Is(err, driver.ErrTooLarge) || errors.Is(err, driver.ErrStoreFull)):
			// What cannot be stored together may be stored alone.
			for i := range group {
				p.commitGroup(group[i : i+1])
			}
			return
		}
		for _, r := range group {
			p.finish(r, rebind.Receipt{Revision: rev, Replaced: r.base}, err)
		}
		return
	}
	for _, r := range group {
		p.finish(r, rebind.Receipt{}, fmt.Errorf("%w: other writers keep changing the same mementos", rebind.ErrConflict))
	}
}

// prepare answers the requests that were stored before, and returns the others on the base
// that the mirror shows.
func (p *Persister) prepare(group []*request) []*request {
	view := p.mirror.View()
	left := make([]*request, 0, len(group))
	for _, r := range group {
		if receipt, ok := r.earlierResult(view); ok {
			p.finish(r, receipt, nil)
			continue
		}
		r.rebase(view)
		left = append(left, r)
	}
	return left
}

// checkGroup answers the requests whose expectations are not met by what the store really
// holds, and returns the others on their true base.
func (p *Persister) checkGroup(group []*request, actual []rebind.Revision) []*request {
	left := make([]*request, 0, len(group))
	for _, r := range group {
		r.base, actual = actual[:len(r.base):len(r.base)], actual[len(r.base):]
		receipt, stored, err := p.findEarlier(r)
		switch {
		case stored:
			p.finish(r, receipt, nil)
			continue
		case err == nil:
			err = checkExpectations(&r.delta, r.base)
		}
		if err != nil {
			p.finish(r, rebind.Receipt{}, err)
			continue
		}
		left = append(left, r)
	}
	return left
}

// findEarlier reports whether r itself has changed its mementos before the mirror showed
// it: by an earlier attempt of which its caller did not get the outcome. It waits until the
// mirror has come that far.
func (p *Persister) findEarlier(r *request) (receipt rebind.Receipt, stored bool, err error) {
	if !r.named {
		return rebind.Receipt{}, false, nil
	}
	if err := p.mirror.Reach(p.ctx, slices.Max(r.base)); err != nil {
		return rebind.Receipt{}, false, p.closedError()
	}
	receipt, stored = r.earlierResult(p.mirror.View())
	return receipt, stored, nil
}

// earlierResult returns the first result of a delta that was stored before, as far as a
// view shows that. One memento that carries the delta's id proves it, since a delta is
// stored whole. No other request changes these mementos while r is under way, so two
// commits of one id are not both stored.
func (r *request) earlierResult(v *rebind.View) (rebind.Receipt, bool) {
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

// finish answers the caller of r.
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

// writesOf returns the writes of a group, in the order of its deltas.
func writesOf(group []*request) []driver.Write {
	if len(group) == 1 {
		return driver.Writes(group[0].delta, group[0].base)
	}
	var writes []driver.Write
	for _, r := range group {
		writes = append(writes, driver.Writes(r.delta, r.base)...)
	}
	return writes
}

// noBase is a base that no memento has: the store answers with the true one.
const noBase rebind.Revision = -1

// baseOf returns the revision to commit on for a memento that the mirror shows at seen. The
// store decides whether an expectation is met, not the mirror. But if the mirror does not
// show it to be met, the operation must not be sent as if it were: when the answer to a
// deletion is lost, only its base tells whether it was applied.
func baseOf(op *rebind.Op, seen rebind.Revision) rebind.Revision {
	if !op.Met(seen) {
		return noBase
	}
	return seen
}

// changesAnything reports whether writes changed anything: deleting a memento that does not
// exist does not.
func changesAnything(writes []driver.Write) bool {
	for i := range writes {
		if writes[i].Put != nil || writes[i].Base != 0 {
			return true
		}
	}
	return false
}

// checkExpectations checks d against what the store really holds.
func checkExpectations(d *rebind.Delta, actual []rebind.Revision) error {
	for i := range d.Ops {
		op := &d.Ops[i]
		if !op.Met(actual[i]) {
			return &driver.ConflictError{Op: i, Name: op.Name, Expect: op.Expect, Actual: actual[i]}
		}
	}
	return nil
}
