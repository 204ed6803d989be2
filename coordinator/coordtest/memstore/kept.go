package memstore

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

type recordKey struct {
	record driver.Record
	joined rebind.Revision
	lease  *lease
}

type guardKey struct {
	driver.Guard
	lease *lease
	made  rebind.Revision
}

// exclusiveError is the error of a node that finds the key guard.
func (g *guardKey) exclusiveError() error {
	return fmt.Errorf("%w: the disabled node %s at %s has it to itself", driver.ErrExclusive, g.Node, g.URI)
}

type offerKey struct {
	driver.Offer
	lease *lease
}

type stored struct {
	memento *rebind.Memento
	fault   string
	at      rebind.Revision
}

// lease is one lease as the store sees it.
type lease struct {
	key   string // the election key it can hold
	gone  bool
	timer *time.Timer
}

// kept is what a store holds, and what a copy of it has.
type kept struct {
	revision rebind.Revision
	planeID  string
	format   int
	pause    *driver.Pause
	guard    *guardKey
	left     map[string]driver.Departed
	holder   driver.Holder
	termMod  rebind.Revision // revision of the term record, 0: none
	handover *offerKey
	nodes    map[string]*recordKey         // by node id
	queue    map[string]rebind.Revision    // candidates: when they were made
	mementos map[rebind.Name]stored        // what is there
	log      []rebind.Change               // what happened to mementos, in order
	compact  rebind.Revision               // log before this is gone
	base     map[rebind.Name]rebind.Change // what was there before log
	history  []driver.HistoryEntry         // oldest first
	loose    map[string]bool               // keys in queue that hang on no lease
	writers  map[rebind.Name]string        // operation that last put each memento
}

func (k *kept) clone() kept {
	c := *k
	c.left, c.queue, c.loose = maps.Clone(k.left), maps.Clone(k.queue), maps.Clone(k.loose)
	c.mementos, c.base, c.writers = maps.Clone(k.mementos), maps.Clone(k.base), maps.Clone(k.writers)
	c.log, c.history = slices.Clone(k.log), slices.Clone(k.history)
	c.nodes = make(map[string]*recordKey, len(k.nodes))
	for id, e := range k.nodes {
		same := *e
		c.nodes[id] = &same
	}
	return c
}
