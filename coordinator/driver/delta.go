package driver

import (
	"fmt"
	"hash/maphash"

	"github.com/coordinator-ha/coordinator/rebind"
)

// This file holds the limits of a delta, which all stores share.

// MaxOps is the most operations one delta may hold: etcd's default of 128 in a
// transaction, less the fence and room to grow.
const MaxOps = 120

// CheckDelta tells whether a store can take d, whatever it holds: whether it follows the
// rules, see [rebind.Delta.Check], and has at most [MaxOps] operations and maxPayload bytes in
// each payload. The error wraps [rebind.ErrInvalid], and [ErrTooLarge] where it is one of size.
func CheckDelta(d *rebind.Delta, maxPayload int) error {
	if len(d.Ops) > MaxOps {
		return fmt.Errorf("%w: %d operations, a delta holds at most %d", ErrTooLarge, len(d.Ops), MaxOps)
	}
	if err := d.Check(); err != nil {
		return err
	}
	for i := range d.Ops {
		if op := &d.Ops[i]; op.Put != nil && len(op.Put.Payload) > maxPayload {
			return fmt.Errorf("%w: payload of %s has %d bytes, the limit is %d", ErrTooLarge, op.Name, len(op.Put.Payload), maxPayload)
		}
	}
	return nil
}

var markSeed = maphash.MakeSeed()

// MarkOf returns the [rebind.Memento.By] of what a delta of that id has put, 0 for an empty
// id. A memento keeps this hash of eight bytes, not the id itself: a node holds a million of
// them. Equal ids have equal marks; that two different ids have the same is as likely as one
// in 2^64. Marks mean nothing outside this process.
func MarkOf(id string) uint64 {
	if id == "" {
		return 0
	}
	return maphash.String(markSeed, id)
}
