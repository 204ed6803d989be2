package rebind

// This file holds Change and Changeset: the changes of one memento, and of one revision.

// Change is one memento put or deleted.
type Change struct {
	Name Name
	// Memento is the memento that was put; nil for a deletion and for a value that
	// cannot be read.
	Memento *Memento
	// Fault is the reason why the stored value cannot be read; empty if it can.
	Fault string
	// Revision is the revision of the change.
	Revision Revision
}

// Changeset holds the changes of mementos at one revision.
type Changeset struct {
	Revision Revision
	Changes  []Change
}

// Size is the number of bytes of the name and the payload, as sums of memory count them.
func (c *Change) Size() int64 {
	if c.Memento == nil {
		return int64(len(c.Name))
	}
	return c.Memento.Size()
}
