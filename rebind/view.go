// This file holds View, which programs read.

package rebind

import (
	"fmt"
	"iter"
	"strings"

	"github.com/tidwall/btree"
)

// View is all mementos at one revision. It never changes, so any goroutine can read it
// without a lock, for as long as it likes.
type View struct {
	revision    Revision
	incarnation uint64                     // of the store that revision counts in
	tree        *btree.Map[Name, *Memento] // in order
	index       index                      // the same by name
	faults      *btree.Map[Name, Change]   // in quarantine, in order
	first       []Change                   // of faults, at most maxFirstFaults
	bytes       int64
	past        replaced
	changes     func(after Revision) (steps []Changeset, ok bool) // what came after a revision, from the copy that showed the view
}

// replaced is what a copy held before a view and does not hold any more.
type replaced struct {
	load     uint64 // the load of the copy, a random number
	mementos int64  // how many were replaced or deleted since
	bytes    int64  // their size
}

// maxFirstFaults bounds the list of [View.FirstFaults].
const maxFirstFaults = 100

// Revision returns the revision that the view shows.
func (v *View) Revision() Revision { return v.revision }

// Incarnation tells views of different stores apart: it counts the restores that this node
// had found before the view was loaded. Revisions of different incarnations cannot be
// compared.
func (v *View) Incarnation() uint64 { return v.incarnation }

// Len returns the number of mementos, without those in quarantine.
func (v *View) Len() int { return v.tree.Len() }

// Bytes returns the sum of the sizes of names and payloads.
func (v *View) Bytes() int64 { return v.bytes }

// Past returns how many mementos, and how many bytes of names and payloads, were replaced or
// deleted between the load of the copy that shows the view and the view, and a number that
// stands for that load. What a later view of the same load has more is what it costs to keep
// this one beside it. Views of different loads share nothing.
func (v *View) Past() (load uint64, mementos, bytes int64) {
	return v.past.load, v.past.mementos, v.past.bytes
}

// Get returns one memento. It does not allocate. The error is [ErrNotFound], or wraps
// [ErrQuarantined] and tells the reason.
func (v *View) Get(name Name) (*Memento, error) {
	if m := v.index.get(name); m != nil {
		return m, nil
	}
	if f, ok := v.faults.Get(name); ok {
		return nil, fmt.Errorf("%w since revision %d: %s", ErrQuarantined, f.Revision, f.Fault)
	}
	return nil, ErrNotFound
}

// From yields the mementos in the order of their names, starting with the first whose name
// is not before start.
func (v *View) From(start Name) iter.Seq[*Memento] {
	return func(yield func(*Memento) bool) {
		v.tree.Ascend(start, func(_ Name, m *Memento) bool { return yield(m) })
	}
}

// OfType yields the mementos of one type whose ids begin with prefix, in order.
func (v *View) OfType(typ, prefix string) iter.Seq[*Memento] {
	start := typ + "/" + prefix
	return func(yield func(*Memento) bool) {
		for m := range v.From(Name(start)) {
			if !strings.HasPrefix(string(m.Name), start) || !yield(m) {
				return
			}
		}
	}
}

// Faults lists the mementos in quarantine by name: each has its Fault and no Memento. The
// cost grows with their number; see [View.FaultCount] and [View.FirstFaults].
func (v *View) Faults() []Change { return v.faults.Values() }

// FirstFaults lists the first 100 of [View.Faults]. It costs nothing, however many there
// are. The list is shared and must not be changed.
func (v *View) FirstFaults() []Change { return v.first }

// FaultCount returns the number of mementos in quarantine.
func (v *View) FaultCount() int { return v.faults.Len() }

// place identifies a view without keeping it in memory.
type place struct {
	load     uint64
	revision Revision
}

func (v *View) place() place { return place{v.past.load, v.revision} }

// changedSince returns the names of the mementos that were put or deleted after an older
// view of the same load; ok is false if that is not known.
func (v *View) changedSince(old place) (names []Name, ok bool) {
	if old.load != v.past.load || old.revision > v.revision || v.changes == nil {
		return nil, false
	}
	steps, ok := v.changes(old.revision)
	if !ok {
		return nil, false
	}
	for _, step := range steps {
		if step.Revision > v.revision {
			break
		}
		for i := range step.Changes {
			names = append(names, step.Changes[i].Name)
		}
	}
	return names, true
}

// Change returns what the view has under a name as the change that put it there. If there
// is nothing, the change holds only the name.
func (v *View) Change(name Name) Change {
	f, _ := v.faults.Get(name)
	return Change{Name: name, Memento: v.index.get(name), Fault: f.Fault, Revision: v.Modified(name)}
}

// Modified returns the revision that last put a memento, whether or not it can be read, or
// 0 if there is none.
func (v *View) Modified(name Name) Revision {
	if m := v.index.get(name); m != nil {
		return m.Modified
	}
	f, _ := v.faults.Get(name)
	return f.Revision
}
