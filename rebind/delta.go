package rebind

import "fmt"

// This file holds what programs write: operations, the deltas that they make up, and receipts.

// The values of [Op.Expect] that are not a revision.
const (
	// Absent requires that there is no such memento.
	Absent Revision = -1
	// Present requires that there is one, at any revision.
	Present Revision = -2
)

// Op puts or deletes one memento.
type Op struct {
	Name Name
	// Put replaces the whole memento; nil deletes it. To delete a memento that does not
	// exist changes nothing and is not an error, unless Expect requires one.
	Put *Content
	// Expect is what the operation requires of the memento: the revision that last
	// modified it, [Absent] or [Present]. 0 requires nothing.
	Expect Revision
}

// Met reports whether a memento meets the operation's Expect; actual is the revision that
// last modified it, 0 if there is none.
func (o *Op) Met(actual Revision) bool {
	switch o.Expect {
	case 0:
		return true
	case Absent:
		return actual == 0
	case Present:
		return actual != 0
	default:
		return actual == o.Expect
	}
}

// Delta is a set of operations that take effect together or not at all, at one
// revision.
type Delta struct {
	// ID identifies the delta as an operation. It is stored with each put, so that a
	// delta whose answer was lost can be recognised: a second commit under the same ID
	// writes nothing and returns the first result, as long as a memento that the delta
	// put still has that ID. If ID is empty, Commit chooses one.
	ID  string
	Ops []Op
}

// Size is the sum of the payloads, in bytes.
func (d *Delta) Size() int {
	sum := 0
	for i := range d.Ops {
		if put := d.Ops[i].Put; put != nil {
			sum += len(put.Payload)
		}
	}
	return sum
}

// maxDeltaID bounds the operation id, which is stored with every put.
const maxDeltaID = 128

// Check returns an error if d breaks a rule that does not depend on what a store holds or
// how much it accepts. The error wraps [ErrInvalid].
func (d *Delta) Check() error {
	if len(d.Ops) == 0 {
		return fmt.Errorf("%w: a delta needs at least one operation", ErrInvalid)
	}
	if err := checkOpID(d.ID); err != nil {
		return err
	}
	seen := make(map[Name]int, len(d.Ops))
	for i := range d.Ops {
		op := &d.Ops[i]
		if err := op.Name.Check(); err != nil {
			return fmt.Errorf("operation %d: %w", i, err)
		}
		if first, ok := seen[op.Name]; ok {
			return fmt.Errorf("%w: operations %d and %d both touch %s, a delta may touch a memento once", ErrInvalid, first, i, op.Name)
		}
		seen[op.Name] = i
		if op.Expect < Present {
			return fmt.Errorf("%w: %s: expected revision %d is negative", ErrInvalid, op.Name, op.Expect)
		}
		if op.Put == nil {
			continue
		}
		if err := op.Put.check(); err != nil {
			return fmt.Errorf("%s: %w", op.Name, err)
		}
	}
	return nil
}

// checkOpID returns an error if id cannot be a [Delta.ID].
func checkOpID(id string) error {
	if len(id) > maxDeltaID {
		return fmt.Errorf("%w: operation id is longer than %d bytes", ErrInvalid, maxDeltaID)
	}
	for _, r := range id {
		if r <= ' ' || r > '~' {
			return fmt.Errorf("%w: operation id %q holds more than printable ASCII without spaces", ErrInvalid, clip(id))
		}
	}
	return nil
}

// Receipt is the proof that a delta is stored.
type Receipt struct {
	Revision Revision
	// Replaced holds, for each operation, the modified revision of the memento that it
	// replaced or deleted, 0 if there was none. If the delta was stored before, by an
	// earlier commit of the same [Delta.ID], that is no longer known: it then is 0 for a
	// memento that the delta is known to have created, and -1 otherwise.
	Replaced []Revision
}
