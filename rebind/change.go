package rebind

// This file holds what happened to mementos: one change, and all changes of one revision.

// Change is one memento put or deleted.
type Change struct {
	Name Name
	// Memento is what was put; nil for a deletion and for a value that cannot be
	// read.
	Memento *Memento
	// Fault says why the stored value cannot be read; empty if it can.
	Fault string
	// Revision is when it happened.
	Revision Revision
}

// Step is what happened to mementos at one revision.
type Step struct {
	Revision Revision
	Changes  []Change
}

// Size is what a change counts in sums of memory.
func (c *Change) Size() int64 {
	if c.Memento == nil {
		return int64(len(c.Name))
	}
	return c.Memento.Size()
}
