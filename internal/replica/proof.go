package replica

import (
	"errors"
	"fmt"
	"slices"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file compares what a watch repeats with what a copy has, to prove that the copy is of the
// store that there is now. The goroutine of the watch calls it, with the mirror's writing held.

// A store that was restored from an older copy of its data goes on from there, and may soon
// be at the same revisions again with other content. So when a watch has broken, or the
// store did not answer for a while, a copy is in doubt until the store has proved that the
// copy's past is its own.
//
// The next watch begins at the revision of the newest memento, or earlier: before
// everything that was applied without a watch. It has to repeat each change that the copy
// knows since then, and no other. Then the store has to count as many mementos at the
// copy's revision as the copy has. This proves that the newest memento is the same, since
// it was repeated, and that nothing after it is unknown.

var (
	// errMismatch ends a watch that repeats something else than the copy has.
	errMismatch = errors.New("the store's changes are not those of this copy")
	// errUnconfirmed ends a watch during which the store did not answer for a while.
	errUnconfirmed = errors.New("the store was not asked")
)

// pastCheck follows how a watch repeats changes from before the load. The copy does not
// have these changes, only what they have left.
type pastCheck struct {
	remaining int                             // the mementos of the copy that are still to be repeated
	undone    map[rebind.Name]rebind.Revision // repeated puts of which the copy has nothing: a later change must undo them
}

// add takes one such change, and reports whether the copy agrees with it.
func (r *pastCheck) add(v *rebind.View, c *rebind.Change) bool {
	at := v.Modified(c.Name)
	switch {
	case at == c.Revision:
		r.remaining--
		delete(r.undone, c.Name)
		return sameChange(c, v.Change(c.Name))
	case isDeletion(c):
		delete(r.undone, c.Name)
		return at == 0 || at > c.Revision
	default:
		r.undone[c.Name] = c.Revision
		return true
	}
}

// complete reports whether everything was repeated, given the steps since the load.
func (r *pastCheck) complete(since []rebind.Changeset) bool {
	for i := range since {
		for j := range since[i].Changes {
			delete(r.undone, since[i].Changes[j].Name)
		}
	}
	return r.remaining == 0 && len(r.undone) == 0
}

// split parts a batch into the changes up to a revision and those after it.
func split(b *driver.Batch, at rebind.Revision) (past, newer driver.Batch) {
	n := slices.IndexFunc(b.Changes, func(c rebind.Change) bool { return c.Revision > at })
	if n < 0 {
		n = len(b.Changes)
	}
	return driver.Batch{Revision: min(b.Revision, at), Changes: b.Changes[:n]}, driver.Batch{Revision: b.Revision, Changes: b.Changes[n:]}
}

// compare checks that the copy's steps and the repeated ones are the same.
func compare(r *rebind.Rules, kept, repeated []rebind.Changeset) error {
	for i := range max(len(kept), len(repeated)) {
		switch {
		case i == len(repeated), i < len(kept) && kept[i].Revision < repeated[i].Revision:
			return mismatch(kept[i].Changes[0].Name, kept[i].Revision)
		case i == len(kept), kept[i].Revision != repeated[i].Revision:
			return mismatch(repeated[i].Changes[0].Name, repeated[i].Revision)
		case len(kept[i].Changes) != len(repeated[i].Changes):
			return fmt.Errorf("%w: at revision %d it has %d, this copy %d",
				errMismatch, kept[i].Revision, len(repeated[i].Changes), len(kept[i].Changes))
		}
		for j := range repeated[i].Changes {
			c := repeated[i].Changes[j]
			if containsChange(kept[i:i+1], &c) {
				continue
			}
			if c = r.Judge(c); !containsChange(kept[i:i+1], &c) {
				return mismatch(c.Name, c.Revision)
			}
		}
	}
	return nil
}

// mismatch returns the errMismatch for a memento.
func mismatch(name rebind.Name, at rebind.Revision) error {
	return fmt.Errorf("%w: %s at revision %d", errMismatch, name, at)
}

// containsChange reports whether a change is in some steps.
func containsChange(steps []rebind.Changeset, c *rebind.Change) bool {
	i, found := slices.BinarySearchFunc(steps, c.Revision, func(s rebind.Changeset, at rebind.Revision) int { return int(s.Revision - at) })
	return found && slices.ContainsFunc(steps[i].Changes, func(have rebind.Change) bool { return have.Name == c.Name && sameChange(c, have) })
}

// isDeletion reports whether nothing is left of the memento.
func isDeletion(c *rebind.Change) bool { return c.Memento == nil && c.Fault == "" }

// sameChange reports whether two changes of one memento are the same.
func sameChange(c *rebind.Change, other rebind.Change) bool {
	a, b := c.Memento, other.Memento
	if a == nil || b == nil {
		return a == b && c.Fault == other.Fault && c.Revision == other.Revision
	}
	return a.Equal(b)
}

// newest returns the revision of the memento that was changed last up to a revision, and how
// many were last changed at it; 0 if there is none. It looks at all mementos, once.
func newest(v *rebind.View, upTo rebind.Revision) (at rebind.Revision, count int) {
	look := func(modified rebind.Revision) {
		switch {
		case modified > upTo || modified < at:
		case modified > at:
			at, count = modified, 1
		default:
			count++
		}
	}
	for m := range v.From("") {
		look(m.Modified)
	}
	for _, f := range v.Faults() {
		look(f.Revision)
	}
	return at, count
}
