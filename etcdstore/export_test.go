package etcdstore

import (
	"context"
	"math"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/rebind"
)

// Blind takes from a term everything by which its holder could know that it is
// over: the local deadline and the watch of its keys. What is left is the fence.
func Blind(t coordinator.Term) {
	mine := t.(*term)
	mine.m.end = func(error) {}
	mine.m.until.Store(math.MaxInt64)
	mine.over = func(error) {}
	mine.ctx = context.WithoutCancel(mine.ctx)
}

// LeaseOf returns the lease of a membership.
func LeaseOf(m coordinator.Membership) int64 { return int64(m.(*membership).id) }

// MementoKey returns the key under which a store keeps a memento.
func MementoKey(s *Store, name rebind.Name) string { return s.keys.memento(name) }
