package rebind

import (
	"fmt"
	"hash/maphash"
	"iter"
	"slices"
	"strings"

	"github.com/tidwall/btree"
)

// View is all mementos at one revision. It never changes, so it can be read from
// any goroutine without a lock, for as long as the reader likes.
type View struct {
	revision Revision
	life     uint64                     // of the store that revision counts in
	tree     *btree.Map[Name, *Memento] // in order
	index    index                      // the same by name
	faults   *btree.Map[Name, Fault]    // in quarantine, in order
	first    []Fault                    // of faults, at most MaxFirstFaults
	bytes    int64
	past     Past
	changes  func(after Revision) (steps []Step, ok bool) // what came after a revision, of the copy that showed it
}

// Past is what a copy had before a view and has no more: what was replaced or deleted
// since the copy was loaded. See [View.Since].
type Past struct {
	load    maphash.Seed // of the copy's index
	Changes int64        // how many mementos
	Bytes   int64        // of their names and payloads
}

// MaxFirstFaults is how many [View.FirstFaults] names.
const MaxFirstFaults = 100

// Fault is a memento in quarantine: its stored value cannot be read.
type Fault struct {
	Name     Name
	Revision Revision
	Reason   string
}

// Revision returns the revision the view shows.
func (v *View) Revision() Revision { return v.revision }

// Incarnation tells views of different stores apart: it counts the restores that this node had
// found before the view was loaded. Revisions of different lives say nothing of each other.
func (v *View) Incarnation() uint64 { return v.life }

// Len returns the number of mementos, quarantined ones not counted.
func (v *View) Len() int { return v.tree.Len() }

// Bytes returns the sum of the sizes of names and payloads.
func (v *View) Bytes() int64 { return v.bytes }

// Past tells what the copy had before the view.
func (v *View) Past() Past { return v.past }

// Since tells what v does not have of what a view with the given past had: what it costs
// to keep that view, or some of its mementos, beside v. That is false where the copy was
// loaded anew in between: then the two share nothing.
func (v *View) Since(p Past) (since Past, same bool) {
	return Past{v.past.load, v.past.Changes - p.Changes, v.past.Bytes - p.Bytes}, v.past.load == p.load
}

// Get returns one memento without allocating. The error is [ErrNotFound], or
// wraps [ErrQuarantined] with the reason.
func (v *View) Get(name Name) (*Memento, error) {
	if m := v.index.get(name); m != nil {
		return m, nil
	}
	if f, ok := v.faults.Get(name); ok {
		return nil, fmt.Errorf("%w since revision %d: %s", ErrQuarantined, f.Revision, f.Reason)
	}
	return nil, ErrNotFound
}

// From yields the mementos in the order of their names, beginning with the first
// that is not before start.
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

// Faults lists the quarantined mementos in the order of their names. It costs as much
// as there are of them; see [View.FaultCount] and [View.FirstFaults].
func (v *View) Faults() []Fault { return v.faults.Values() }

// FirstFaults lists the first of [View.Faults], at most [MaxFirstFaults]. It costs
// nothing, however many there are; the list is shared and must not be changed.
func (v *View) FirstFaults() []Fault { return v.first }

// FaultCount returns the number of quarantined mementos.
func (v *View) FaultCount() int { return v.faults.Len() }

// place tells which view of which load one is, without keeping it in memory.
type place struct {
	load     maphash.Seed
	revision Revision
}

func (v *View) place() place { return place{v.past.load, v.revision} }

// changedSince returns the names of what was put or deleted after an older view of the
// same load; ok is false where that is not known.
func (v *View) changedSince(old place) (names []Name, ok bool) {
	if old.load != v.past.load || old.revision > v.revision {
		return nil, false
	}
	if v.changes == nil {
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

// Change tells what the view has under a name as the change that made it: nothing but
// the name if there is none.
func (v *View) Change(name Name) Change {
	f, _ := v.faults.Get(name)
	return Change{Name: name, Memento: v.index.get(name), Fault: f.Reason, Revision: v.Modified(name)}
}

// Modified returns the revision that last put name, readable or not, and 0 if it
// is absent.
func (v *View) Modified(name Name) Revision {
	if m := v.index.get(name); m != nil {
		return m.Modified
	}
	f, _ := v.faults.Get(name)
	return f.Revision
}

// Draft is the one mutable copy from which a mirror takes its views. It belongs to one
// goroutine.
type Draft struct {
	tree   btree.Map[Name, *Memento]
	index  index
	faults btree.Map[Name, Fault]
	first  []Fault // of faults, as the last view has them; nil if those have changed
	bytes  int64
	life   uint64 // of the store it was loaded from
	past   Past
}

// NewDraft returns an empty draft. life is that of the store it is loaded from: see
// [View.Incarnation].
func NewDraft(life uint64) *Draft {
	d := &Draft{index: newIndex(), life: life}
	d.past.load = d.index.seed
	return d
}

// View freezes the draft's present content, which is that of the revision at. Later
// changes of the draft copy what they touch, so that the view keeps its own. changes
// tells what happened after a revision as far as that is still known; it is called by
// [Index], from any goroutine. nil knows nothing.
func (d *Draft) View(at Revision, changes func(after Revision) ([]Step, bool)) *View {
	if d.first == nil {
		d.first = firstOf(&d.faults)
	}
	return &View{
		revision: at, life: d.life, tree: d.tree.IsoCopy(), index: d.index.freeze(),
		faults: d.faults.IsoCopy(), first: d.first, bytes: d.bytes, past: d.past,
		changes: changes,
	}
}

// firstOf lists the first of some faults; it is not nil.
func firstOf(faults *btree.Map[Name, Fault]) []Fault {
	first := make([]Fault, 0, min(faults.Len(), MaxFirstFaults))
	faults.Scan(func(_ Name, f Fault) bool {
		if len(first) < MaxFirstFaults {
			first = append(first, f)
		}
		return len(first) < MaxFirstFaults
	})
	return first
}

// Next is the memento that a put at revision at, by an operation of that id, makes
// of what is at base; ok is false where the draft has something else, or something
// that cannot be read.
func (d *Draft) Next(op *Op, id string, base, at Revision) (m *Memento, ok bool) {
	old := d.index.get(op.Name)
	if there := old != nil; there != (base != 0) || (there && old.Modified != base) {
		return nil, false
	}
	m = &Memento{Name: op.Name, Content: *op.Put, Created: at, Modified: at, Version: 1, By: MarkOf(id)}
	m.Payload = slices.Clone(op.Put.Payload) // the caller's own
	if old != nil {
		m.Created, m.Version = old.Created, old.Version+1
	}
	return m, true
}

// Apply brings one change into the draft.
func (d *Draft) Apply(c Change) {
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
		d.past.Changes++
		d.past.Bytes += old.Size()
	}
	if c.Fault != "" {
		d.faults.Set(c.Name, Fault{Name: c.Name, Revision: c.Revision, Reason: c.Fault})
		d.first = nil
	} else if d.faults.Len() > 0 {
		if _, ok := d.faults.Delete(c.Name); ok {
			d.first = nil
		}
	}
}

// Load is Apply for mementos that come in the order of their names, each once: the
// tree takes those at its end without looking for their place.
func (d *Draft) Load(c Change) {
	if c.Memento == nil {
		d.Apply(c)
		return
	}
	d.tree.Load(c.Name, c.Memento)
	d.index.add(c.Memento)
	d.bytes += c.Memento.Size()
}
