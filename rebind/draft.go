// This file holds Draft, from which views are made.

package rebind

import (
	"hash/maphash"
	"slices"

	"github.com/tidwall/btree"
)

// Draft collects mementos and makes views of them. A node makes its views with one; so can
// a test that needs a View. The zero value is empty and ready to use. A draft belongs to one
// goroutine; its views do not.
type Draft struct {
	// Incarnation is what the views return as theirs.
	Incarnation uint64

	tree   btree.Map[Name, *Memento]
	index  index
	faults btree.Map[Name, Change]
	first  []Change // of faults, as in the last view; nil if they have changed since
	bytes  int64
	past   replaced
}

// init prepares the zero value.
func (d *Draft) init() {
	if d.index.root == nil {
		d.index = newIndex()
		d.past.load = maphash.String(d.index.seed, "") // a random number, as the seed is
	}
}

// View returns the present content as that of revision at. Later changes of the draft do not
// change the view. changes returns the steps after a revision, and false if it does not know
// them all; an [Index] calls it, from any goroutine. nil knows none.
func (d *Draft) View(at Revision, changes func(after Revision) ([]Changeset, bool)) *View {
	d.init()
	if d.first == nil {
		d.first = firstOf(&d.faults)
	}
	return &View{
		revision: at, incarnation: d.Incarnation, tree: d.tree.IsoCopy(), index: d.index.freeze(),
		faults: d.faults.IsoCopy(), first: d.first, bytes: d.bytes, past: d.past,
		changes: changes,
	}
}

// firstOf lists the first of some faults; the list is not nil.
func firstOf(faults *btree.Map[Name, Change]) []Change {
	first := make([]Change, 0, min(faults.Len(), maxFirstFaults))
	faults.Scan(func(_ Name, f Change) bool {
		if len(first) < maxFirstFaults {
			first = append(first, f)
		}
		return len(first) < maxFirstFaults
	})
	return first
}

// Next returns the memento that a put makes at revision at of the one that was last modified
// at base, 0 if there was none; by is its [Memento.By]. ok is false if the draft has another
// one there, or one that cannot be read.
func (d *Draft) Next(put *Op, by uint64, base, at Revision) (m *Memento, ok bool) {
	d.init()
	old := d.index.get(put.Name)
	if there := old != nil; there != (base != 0) || (there && old.Modified != base) {
		return nil, false
	}
	m = &Memento{Name: put.Name, Content: *put.Put, Created: at, Modified: at, Version: 1, By: by}
	m.Payload = slices.Clone(put.Put.Payload) // the original is the caller's
	if old != nil {
		m.Created, m.Version = old.Created, old.Version+1
	}
	return m, true
}

// Apply makes one change.
func (d *Draft) Apply(c Change) {
	d.init()
	var old *Memento
	if c.Memento != nil {
		old, _ = d.tree.Set(c.Name, c.Memento)
		d.index.put(c.Memento)
		d.bytes += c.Memento.Size()
	} else {
		old, _ = d.tree.Delete(c.Name)
		d.index.remove(c.Name)
	}
	if old != nil {
		d.bytes -= old.Size()
		d.past.mementos++
		d.past.bytes += old.Size()
	}
	if c.Fault != "" {
		d.faults.Set(c.Name, c)
		d.first = nil
	} else if d.faults.Len() > 0 {
		if _, ok := d.faults.Delete(c.Name); ok {
			d.first = nil
		}
	}
}

// Load is Apply for changes in the order of their names, each name once. It is faster: the
// tree takes each at its end without a search.
func (d *Draft) Load(c Change) {
	if c.Memento == nil {
		d.Apply(c)
		return
	}
	d.init()
	d.tree.Load(c.Name, c.Memento)
	d.index.add(c.Memento)
	d.bytes += c.Memento.Size()
}
