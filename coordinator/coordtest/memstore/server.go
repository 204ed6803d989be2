// Package memstore is the one in-memory store: the whole of
// [driver.Store], for tests and examples, with faults on demand. It lives
// by the clock of package time, so inside a testing/synctest bubble leases lapse
// in virtual time.
//
// A [Server] is the store itself, a [Store] is one node's connection to it, which
// a test can cut. What a store must do is told by package storetest, whose tests
// this one passes together with the real one.
package memstore

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

// Server holds the planes' one store. Its methods are the faults a test can ask
// for.
type Server struct {
	ttl  time.Duration
	ctx  context.Context // ends all presences
	halt context.CancelFunc

	mu sync.Mutex // guards all below
	kept
	moved   chan struct{}
	lifted  *time.Timer // ends a pause that has an end; nil otherwise
	full    bool
	corrupt bool
	breaks  int               // how often all streams broke
	cut     map[string]bool   // nodes that cannot reach the store
	starved map[string]bool   // nodes that hear nothing but that their lease is renewed
	mute    map[string]func() // nodes whose next commit's answer is lost, and what happens meanwhile
	unheard map[string]bool   // nodes whose next term's answer is lost
	stalled map[string]bool   // nodes whose watches bring nothing
	before  func(node string, call Call) error
	alive   map[*lease]bool
	leases  int // how many were ever granted
}

// New returns an empty store that grants leases of the given TTL.
func New(ttl time.Duration) *Server {
	ctx, halt := context.WithCancel(context.Background())
	return &Server{
		ctx:  ctx,
		halt: halt,
		ttl:  ttl,
		kept: kept{
			revision: 1,
			nodes:    make(map[string]*recordKey),
			left:     make(map[string]driver.Departed),
			queue:    make(map[string]rebind.Revision),
			mementos: make(map[rebind.Name]stored),
			base:     make(map[rebind.Name]rebind.Change),
			loose:    make(map[string]bool),
			writers:  make(map[rebind.Name]string),
		},
		moved:   make(chan struct{}),
		cut:     make(map[string]bool),
		starved: make(map[string]bool),
		mute:    make(map[string]func()),
		unheard: make(map[string]bool),
		stalled: make(map[string]bool),
		before:  func(string, Call) error { return nil },
		alive:   make(map[*lease]bool),
	}
}

// Close ends all presences as the end of their processes would, and lets no
// lease lapse any more.
func (s *Server) Close() {
	s.halt()
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.alive {
		l.timer.Stop()
	}
	s.lift()
}

// Node returns the connection of one node.
func (s *Server) Node(id string) *Store { return &Store{server: s, node: id, life: s.newLife(0)} }

// step makes the next revision; the caller holds mu and calls announce after it
// has changed what changes at that revision.
func (s *Server) step() rebind.Revision {
	s.revision++
	return s.revision
}

// announce wakes everybody who waits for a change; the caller holds mu.
func (s *Server) announce() {
	close(s.moved)
	s.moved = make(chan struct{})
}

// Revision returns the store's present revision.
func (s *Server) Revision() rebind.Revision {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.revision
}

// changes is what is there, as if it had just been put; the caller holds mu.
func (s *Server) changes() map[rebind.Name]rebind.Change {
	all := make(map[rebind.Name]rebind.Change, len(s.mementos))
	for name, m := range s.mementos {
		all[name] = rebind.Change{Name: name, Memento: m.memento, Fault: m.fault, Revision: m.at}
	}
	return all
}

// putAt and remove change one memento at a revision; the caller holds mu.
func (s *Server) putAt(at rebind.Revision, name rebind.Name, c rebind.Content, fault, op string) {
	old := s.mementos[name]
	c.Payload = slices.Clone(c.Payload) // the caller's own
	m := &rebind.Memento{Name: name, Content: c, Created: at, Modified: at, Version: 1, By: driver.MarkOf(op)}
	if old.memento != nil {
		m.Created, m.Version = old.memento.Created, old.memento.Version+1
	}
	change := rebind.Change{Name: name, Memento: m, Revision: at}
	if fault != "" {
		change.Memento, change.Fault = nil, fault
	}
	s.mementos[name] = stored{memento: change.Memento, fault: fault, at: at}
	s.writers[name] = op
	s.log = append(s.log, change)
}

func (s *Server) remove(at rebind.Revision, name rebind.Name) {
	if _, ok := s.mementos[name]; !ok {
		return
	}
	delete(s.mementos, name)
	delete(s.writers, name)
	s.log = append(s.log, rebind.Change{Name: name, Revision: at})
}

// held reports whether the key named in the term record lives; the caller holds
// mu.
func (s *Server) held() bool {
	made, ok := s.queue[s.holder.Key]
	return ok && !s.loose[s.holder.Key] && s.termMod != 0 && made <= s.termMod
}

// away reports whether a node's calls go unanswered; the caller holds mu.
func (s *Server) away(node string) bool { return s.cut[node] || s.starved[node] }

// unqueue deletes a key in the election; the caller holds mu.
func (s *Server) unqueue(key string) {
	delete(s.queue, key)
	delete(s.loose, key)
}

// candidacy is when a node's key in the election was made, 0 if it does not stand
// there; the caller holds mu.
func (s *Server) candidacy(key string) rebind.Revision {
	if s.loose[key] {
		return 0
	}
	return s.queue[key]
}

// strays names what is no node's candidacy, and a term record that cannot be read; the
// caller holds mu.
func (s *Server) strays() []driver.Stray {
	behind := make(map[string]bool)
	for _, e := range s.nodes {
		behind[e.lease.key] = true
	}
	var found []driver.Stray
	for key := range s.queue {
		if s.loose[key] || !behind[key] {
			found = append(found, driver.Stray{Key: key, Why: "is nobody's candidacy"})
		}
	}
	if s.termMod != 0 && s.holder.Term == 0 {
		found = append(found, driver.Stray{Key: "term", Why: "is garbled"})
	}
	slices.SortFunc(found, func(a, b driver.Stray) int { return strings.Compare(a.Key, b.Key) })
	return found[:min(len(found), driver.MaxStrays)]
}

// plane is the plane as it is; the caller holds mu.
func (s *Server) plane() driver.Plane {
	p := driver.Plane{PlaneCore: driver.PlaneCore{Revision: s.revision, ID: s.planeID, Format: s.format, Holder: s.holder, Held: s.held()}}
	if !s.pause.Over(time.Now()) {
		pause := *s.pause
		p.Pause = &pause
	}
	p.Strays = s.strays()
	if s.guard != nil {
		by := s.guard.Guard
		p.Exclusive = &by
	}
	for _, l := range s.left {
		p.Departed = append(p.Departed, l)
	}
	slices.SortFunc(p.Departed, func(a, b driver.Departed) int { return strings.Compare(a.ID, b.ID) })
	if s.handover != nil {
		h := s.handover.Offer
		p.Offer = &h
	}
	for _, e := range s.nodes {
		m := driver.Member{
			Record: e.record, Joined: e.joined,
			Candidacy: s.candidacy(e.lease.key), CandidateKey: e.lease.key,
		}
		if p.Counts(m) {
			p.Members = append(p.Members, m)
		}
	}
	slices.SortFunc(p.Members, func(a, b driver.Member) int { return strings.Compare(a.ID, b.ID) })
	return p
}

// expire ends a lease and deletes all that hangs on it, at one revision; the
// caller holds mu.
func (s *Server) expire(l *lease) {
	if l.gone {
		return
	}
	l.gone = true
	l.timer.Stop()
	delete(s.alive, l)
	maps.DeleteFunc(s.nodes, func(_ string, e *recordKey) bool { return e.lease == l })
	if !s.loose[l.key] {
		delete(s.queue, l.key)
	}
	if s.handover != nil && s.handover.lease == l {
		s.handover = nil
	}
	if s.guard != nil && s.guard.lease == l {
		s.guard = nil
	}
	s.step()
	s.announce()
}

// grant makes a lease; the caller holds mu.
func (s *Server) grant() *lease {
	s.leases++
	l := &lease{key: fmt.Sprintf("election/%d", s.leases)}
	s.alive[l] = true
	l.timer = time.AfterFunc(s.ttl, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.expire(l)
	})
	return l
}

// found makes the plane's id where it has none; the caller holds mu.
func (s *Server) found(planeID string) {
	if s.planeID != "" {
		return
	}
	if planeID == "" {
		planeID = rand.Text()
	}
	s.planeID, s.format = planeID, driver.Format
}

// carries reports whether the node's record hangs on l; the caller holds mu.
func (s *Server) carries(l *lease, node string) bool {
	e, ok := s.nodes[node]
	return ok && e.lease == l
}

// alone reports whether nobody but the holder of l is in the plane; the caller
// holds mu.
func (s *Server) alone(l *lease) bool {
	for _, e := range s.nodes {
		if e.lease != l {
			return false
		}
	}
	for key := range s.queue {
		if key != l.key && !s.loose[key] {
			return false
		}
	}
	return true
}

// apply makes writes and returns their revision; the caller holds mu.
func (s *Server) apply(writes []driver.Write) rebind.Revision {
	at := s.revision + 1
	changed := false
	for i := range writes {
		w := &writes[i]
		if w.Put != nil {
			s.putAt(at, w.Name, *w.Put, "", w.ID)
			changed = true
		} else if _, ok := s.mementos[w.Name]; ok {
			s.remove(at, w.Name)
			changed = true
		}
	}
	if !changed {
		return s.revision
	}
	return s.step()
}

// then is what there was at a revision; the caller holds mu.
func (s *Server) then(at rebind.Revision) (map[rebind.Name]rebind.Change, error) {
	switch {
	case at < s.compact:
		return nil, driver.ErrCompacted
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

func (s *Server) newLife(number uint64) *life {
	l := &life{number: number}
	l.ctx, l.end = context.WithCancelCause(s.ctx)
	return l
}

// lift forgets when a pause ends; the caller holds mu.
func (s *Server) lift() {
	if s.lifted != nil {
		s.lifted.Stop()
		s.lifted = nil
	}
}
