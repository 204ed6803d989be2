package memstore

import (
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file holds the faults that a test can ask for.

// Cut makes the node's calls fail and its renewals go unheard until Heal.
func (s *Server) Cut(node string) { s.set(s.cut, node, true) }

// Heal ends Cut.
func (s *Server) Heal(node string) { s.set(s.cut, node, false) }

// Starve has the node's calls and watches go unanswered, while its lease is renewed on, or
// ends that.
func (s *Server) Starve(node string, on bool) { s.set(s.starved, node, on) }

// Stall has the node's watches of mementos bring nothing more, while its calls go on
// as before, or ends that.
func (s *Server) Stall(node string, on bool) { s.set(s.stalled, node, on) }

// Call names what a node asks of the store.
type Call string

// The calls that a test can wait for.
const (
	CallJoin            Call = "join"
	CallLeave           Call = "leave"
	CallPlane           Call = "plane"
	CallSize            Call = "size"
	CallHistory         Call = "history"
	CallHead            Call = "head"
	CallLoad            Call = "load"
	CallOperate         Call = "operate" // pause, resume and forget
	CallJoinExclusive   Call = "join exclusively"
	CallStand           Call = "stand"    // the entry into the election
	CallLook            Call = "look"     // a candidate's look at the plane
	CallRequeue         Call = "requeue"  // a candidate's move to the end of the queue
	CallClaim           Call = "claim"    // the transaction that begins a term
	CallWithdraw        Call = "withdraw" // the deletion of the own candidacy
	CallPublish         Call = "publish"
	CallCommit          Call = "commit"
	CallAnnounce        Call = "announce"
	CallClear           Call = "clear"
	CallRecordDeparture Call = "bury"
	CallOffer           Call = "offer"
	CallPass            Call = "pass"
	CallResign          Call = "resign"
)

// writes reports whether a call changes the store.
func (c Call) writes() bool {
	switch c {
	case CallPlane, CallSize, CallHistory, CallHead, CallLoad, CallStand, CallLook: // a candidate waits
		return false
	default:
		return true
	}
}

// Before has f called before each call of a node takes effect; an error of f's is the
// call's only effect. f may use the server.
func (s *Server) Before(f func(node string, call Call) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

// LoseAnswer has the node's next commit, or the next term that it begins, take effect and
// its answer lost. Meanwhile runs in between.
func (s *Server) LoseAnswer(node string, meanwhile func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mute[node] = meanwhile
}

// LoseTerm has the node's next transaction that begins a term applied and its answer lost.
func (s *Server) LoseTerm(node string) { s.set(s.unheard, node, true) }

func (s *Server) set(faults map[string]bool, node string, on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	faults[node] = on
	s.announce()
}

// Revoke ends the lease under which the node has its record, as an operator or
// the passing of time would.
func (s *Server) Revoke(node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.nodes[node]; ok {
		s.expire(e.lease)
	}
}

// DeleteCandidate deletes the node's election key and nothing else.
func (s *Server) DeleteCandidate(node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.nodes[node]; ok {
		s.unqueue(e.lease.key)
		s.step()
		s.announce()
	}
}

// Stray puts a key into the election that hangs on no lease: in the place of the node's
// own, if it stands there.
func (s *Server) Stray(node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := "election/" + node
	if e, ok := s.nodes[node]; ok {
		key = e.lease.key
	}
	at := s.step()
	if s.queue[key] == 0 {
		s.queue[key] = at
	}
	s.loose[key] = true
	s.announce()
}

// DeleteRecord deletes the node's record and nothing else.
func (s *Server) DeleteRecord(node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.nodes, node)
	s.step()
	s.announce()
}

// Forge puts r in the place of a node's record, on a lease of nobody's.
func (s *Server) Forge(node string, r driver.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := &recordKey{record: r, joined: s.step(), lease: s.grant()}
	if was, ok := s.nodes[node]; ok {
		e.joined = was.joined
	}
	s.nodes[node] = e
	s.announce()
}

// EditTerm writes a number into the term record by hand. One that cannot be a term's
// garbles it.
func (s *Server) EditTerm(number int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holder.Term = number
	if number < 1 || number > driver.MaxTerm {
		s.holder = driver.Holder{}
	}
	s.termMod = s.step()
	s.announce()
}

// DeleteTerm deletes the term record.
func (s *Server) DeleteTerm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holder, s.termMod = driver.Holder{}, 0
	s.step()
	s.announce()
}

// DeleteGuard deletes the key by which a disabled node has the plane to itself.
func (s *Server) DeleteGuard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.guard = nil
	s.step()
	s.announce()
}

// DeleteMeta deletes the plane's identity.
func (s *Server) DeleteMeta() { s.SetMeta("", 0) }

// Put writes a memento past all rules; a fault makes it one that cannot be read.
func (s *Server) Put(name rebind.Name, c rebind.Content, fault string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.putAt(s.step(), name, c, fault, "")
	s.announce()
}

// Delete deletes a memento past all rules.
func (s *Server) Delete(name rebind.Name) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(s.step(), name)
	s.announce()
}

// Fill makes the store refuse puts for want of room, or take them again.
func (s *Server) Fill(full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full = full
}

// Corrupt makes the store refuse every write because its members' data differ, or take
// them again.
func (s *Server) Corrupt(corrupt bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.corrupt = corrupt
	s.announce()
}

// Compact drops all history before the present revision.
func (s *Server) Compact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.compact = s.revision
	s.log = nil
	s.base = s.changes()
	s.announce()
}

// Restore takes the store back to an earlier revision, at which it held no
// memento, as a backup that is put in its place would.
func (s *Server) Restore(to rebind.Revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revision, s.compact, s.log = to, 0, nil
	s.mementos = make(map[rebind.Name]stored)
	s.base = s.changes()
	s.breaks++
	s.announce()
}

// SetMeta gives the plane an id and a format as another program would.
func (s *Server) SetMeta(planeID string, format int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.planeID, s.format = planeID, format
	s.step()
	s.announce()
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
