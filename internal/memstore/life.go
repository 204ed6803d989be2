package memstore

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

// life is what a node knows of the store between two restores of it. It does not see
// one: it finds the store below a revision that it has seen, or a copy finds that its
// past is not the store's.
type life struct {
	number uint64
	seen   rebind.Revision
	ctx    context.Context // ends with it
	end    context.CancelCauseFunc
}

func (s *Server) newLife(number uint64) *life {
	l := &life{number: number}
	l.ctx, l.end = context.WithCancelCause(s.ctx)
	return l
}

// Incarnation counts how often this node has found the store to be restored.
func (s *Store) Incarnation() uint64 {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	return s.life.number
}

// Restored ends a life of the store.
func (s *Store) Restored(life uint64, how string) error {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	return s.restored(life, how)
}

// restored is Restored for who holds the server.
func (s *Store) restored(life uint64, how string) error {
	err := fmt.Errorf("%w: %s", driver.ErrRestored, how)
	if old := s.life; old.number == life {
		s.life = s.server.newLife(life + 1)
		old.end(err)
	}
	return err
}

// look takes note of the store's revision; the caller holds the server.
func (s *Store) look() error {
	now := s.server.revision
	if now < s.life.seen {
		return s.restored(s.life.number, fmt.Sprintf("it is at revision %d and was at %d", now, s.life.seen))
	}
	s.life.seen = now
	return nil
}

// Backup is a copy of all that a server holds.
type Backup struct {
	kept
	leases map[*lease]bool // those that live
}

// Backup copies what the store holds.
func (s *Server) Backup() *Backup {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := &Backup{kept: s.kept.clone(), leases: make(map[*lease]bool)}
	for l := range s.alive {
		b.leases[l] = true
	}
	return b
}

// PutBack has a copy take the store's place, as when etcd's data are replaced while
// nodes run. All streams break; nobody is told why. Leases begin anew where the copy
// has them, and are unknown where it does not. A revision that is not 0 is that to which
// the store goes on at once, by changes that no plane sees.
func (s *Server) PutBack(b *Backup, goOn rebind.Revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = b.kept.clone()
	s.revision = max(s.revision, goOn)
	for l := range s.alive {
		if !b.leases[l] {
			l.gone = true
			l.timer.Stop()
			delete(s.alive, l)
		}
	}
	for l := range b.leases {
		l.gone, s.alive[l] = false, true
		l.timer.Reset(s.ttl)
	}
	s.breaks++
	s.announce()
}

// Break ends all watches of mementos, as connections that break do.
func (s *Server) Break() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.breaks++
	s.announce()
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
	nodes    map[string]*entry             // by node id
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
	c.nodes = make(map[string]*entry, len(k.nodes))
	for id, e := range k.nodes {
		same := *e
		c.nodes[id] = &same
	}
	return c
}

// Tally counts the mementos that there were at a revision.
func (s *Store) Tally(ctx context.Context, at rebind.Revision) (int64, error) {
	if err := s.reach(ctx, CallHead); err != nil {
		return 0, err
	}
	defer s.server.mu.Unlock()
	then, err := s.server.then(at)
	return int64(len(then)), err
}

// then is what there was at a revision; the caller holds mu.
func (s *Server) then(at rebind.Revision) (map[rebind.Name]rebind.Change, error) {
	switch {
	case at < s.compact:
		return nil, rebind.ErrCompacted
	case at > s.revision:
		return nil, driver.ErrAhead
	}
	then := maps.Clone(s.base)
	for _, c := range s.log {
		switch {
		case c.Revision > at:
		case c.Memento == nil && c.Fault == "":
			delete(then, c.Name)
		default:
			then[c.Name] = c
		}
	}
	return then, nil
}
