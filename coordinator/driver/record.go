package driver

import (
	"time"

	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file declares what is stored of a plane besides mementos, and the pictures of it. The
// JSON forms are stored in etcd: add fields, never rename or reuse them.

// Record is what a node publishes about itself, under its lease. The text forms
// are stored in etcd.
type Record struct {
	ID       string      `json:"id"`
	Plane    string      `json:"plane"`
	PlaneID  string      `json:"plane_id,omitempty"`
	Instance string      `json:"instance"` // random per start of a process
	Mode     modes.Mode  `json:"mode"`
	State    modes.State `json:"state"`
	Priority int         `json:"priority"`
	Version  string      `json:"version"`
	URI      string      `json:"uri"`
	Started  time.Time   `json:"started"`
	Since    time.Time   `json:"since"` // when the node came to its state
	// Term is the number of the term the node leads, 0 if it does not lead.
	Term int64 `json:"term,omitempty"`
	// Next is the node that a master expects to follow it. When the term ends, that
	// node does not wait for its turn in the election.
	Next      string `json:"next,omitempty"`
	LastError string `json:"last_error,omitempty"`
	// ReadyFor is the id of the handover for which the node stands ready.
	ReadyFor string `json:"ready_for,omitempty"`
	// GaveUp is the term the node ended by its own will, and GaveUpFor why. For
	// the vacancy this makes the node is chosen last.
	GaveUp    int64  `json:"gave_up,omitempty"`
	GaveUpFor Reason `json:"gave_up_for,omitempty"`
}

// Reason says why a term began. The text forms are stored in etcd.
type Reason string

// The reasons for which a term begins.
const (
	// ReasonStart is the first term seen by a node: there was no master before,
	// or none that this node saw alive.
	ReasonStart Reason = "start"
	// ReasonHandover is a master's orderly succession, asked for or by a stop.
	ReasonHandover Reason = "handover"
	// ReasonFailover is the loss of the master.
	ReasonFailover Reason = "failover"
	// ReasonDemotion is a master that was asked to be something else.
	ReasonDemotion Reason = "demotion"
)

// Member is a live node as the store shows it.
type Member struct {
	Record
	// Joined is the revision that created the record: the lower, the longer the
	// node has been here.
	Joined rebind.Revision
	// Candidacy is the revision that put the node in the election, 0 if it is
	// not taking part; CandidateKey is the key that did, for the store to know.
	Candidacy    rebind.Revision
	CandidateKey string
}

// MaxTerm is the highest number that a term record may have. One above it was not
// written by a node, and terms could not rise from it for long: a store takes such a
// record to be garbled.
const MaxTerm = int64(1) << 62

// Holder is the term record: who was last given the term.
type Holder struct {
	Term  int64     `json:"term"`
	Key   string    `json:"key"` // the election key that holds the term
	Node  string    `json:"node"`
	Since time.Time `json:"since"`
}

// Offer is a master's offer to pass its term on.
type Offer struct {
	ID    string    `json:"id"`
	From  string    `json:"from"`
	To    string    `json:"to"`
	Until time.Time `json:"until"`
	// Revision is how far the target's state must have come for it to be ready; 0 says to
	// have all that was written before the offer was made.
	Revision rebind.Revision `json:"revision,omitempty"`
	// Made is the revision at which the store took the offer. The store fills it in; for
	// its maker it is 0 where the offer was sent twice, and may have been seen before.
	Made rebind.Revision `json:"-"`
}

// Due is how far the target's state must have come for it to be ready.
func (h *Offer) Due() rebind.Revision {
	if h.Revision != 0 {
		return h.Revision
	}
	return h.Made - 1
}

// Pause is an operator's word that nobody is to be promoted by itself. The text
// forms are stored in etcd.
type Pause struct {
	Since time.Time `json:"since"`
	// Until is when the pause ends by itself; nil means that it does not.
	Until *time.Time `json:"until"`
	By    string     `json:"by"` // the node that was asked for it
}

// Over reports whether a pause is over at a moment of the wall clock. nil is no pause.
func (p *Pause) Over(at time.Time) bool {
	return p == nil || p.Until != nil && !at.Before(*p.Until)
}

// Stray is a key of the plane that is not what its place says. It counts for nothing,
// unless Why tells what it does all the same.
type Stray struct {
	Key string `json:"key"`
	Why string `json:"why"`
}

// MaxStrays is how many stray keys a plane names at most.
const MaxStrays = 100

// Guard names the disabled node that has the plane to itself: while that lives nobody joins.
type Guard struct {
	Node string `json:"node"`
	URI  string `json:"uri"`
}

// Departure says how a node went. The text forms are stored in etcd.
type Departure string

// The ways in which a node leaves its plane.
const (
	// DepartureStopped is a node that ended by its own will.
	DepartureStopped Departure = "stopped"
	// DepartureLost is a node whose lease lapsed.
	DepartureLost Departure = "lost"
)

// Departed is a node that is gone. The text forms are stored in etcd.
type Departed struct {
	// Record is the last one the node published, with the state TERMINATED.
	Record
	// Was is the state the node had before.
	Was modes.State `json:"was"`
	At  time.Time   `json:"left_at"`
	How Departure   `json:"how"`
}

// Remembered is how long a node that left stays visible.
const Remembered = time.Hour

// Format is the version of the stored layout that this program writes. A plane
// of a newer one is left alone.
const Format = 1

// PlaneCore is what every node follows of its plane, at one revision: whose it is, who
// holds the term, and what was ordered.
type PlaneCore struct {
	Revision rebind.Revision
	// ID is the plane's stable random id, empty before the first term; Format is
	// the version of its layout, 0 before that.
	ID     string
	Format int
	// Holder is the last term given; its Term is 0 before the first.
	Holder Holder
	// Held reports whether that term's election key lives. While it does nobody
	// else can lead, whether or not the holder has come as far as MASTER.
	Held bool
	// Offer is the handover now offered, Pause the pause in force, Exclusive the
	// disabled node that has the plane to itself; each nil if there is none. A pause
	// that is over by this node's wall clock is none, whether or not its key is still
	// there.
	Offer     *Offer
	Pause     *Pause
	Exclusive *Guard
}

// Counts reports whether the record of m counts. Of the node that holds the term only
// the one on the lease that holds it does: whoever may write that node's record and
// not its election key cannot speak as the master. Stores leave out what does not
// count, as if it were not there.
func (p *PlaneCore) Counts(m Member) bool {
	return !p.Held || m.ID != p.Holder.Node || m.CandidateKey == p.Holder.Key
}

// master returns the master among some members.
func (p *PlaneCore) master(members []Member) (Member, bool) {
	if !p.Held {
		return Member{}, false
	}
	m, ok := member(members, p.Holder.Node)
	if !ok || !p.Counts(m) || m.State != modes.StateMaster || m.Term != p.Holder.Term {
		return Member{}, false
	}
	return m, true
}

func member(members []Member, id string) (Member, bool) {
	for _, m := range members {
		if m.ID == id {
			return m, true
		}
	}
	return Member{}, false
}

// Plane is everything about a plane but its mementos, at one revision.
type Plane struct {
	PlaneCore
	// Members are the live nodes whose records count, see [PlaneCore.Counts]; Departed
	// those that were here not long ago; both in the order of their ids.
	Members  []Member
	Departed []Departed
	// Strays are keys in the election that are nobody's candidacy, and keys that cannot
	// be read, in the order of the keys: the first [MaxStrays] of them.
	Strays []Stray
}

// Member returns the live node of that id.
func (p *Plane) Member(id string) (Member, bool) { return member(p.Members, id) }

// Master returns the node that has announced itself as master of the term now
// held. Between an election and the announcement there is none.
func (p *Plane) Master() (Member, bool) { return p.master(p.Members) }

// Near returns what the given node follows of the plane while it does not lead.
func (p *Plane) Near(node string) NearPlane {
	near := NearPlane{PlaneCore: p.PlaneCore}
	for _, m := range p.Members {
		if m.ID != node && m.ID != p.Holder.Node {
			continue
		}
		if m.CandidateKey != p.Holder.Key {
			m.Candidacy = 0
		}
		near.Members = append(near.Members, m)
	}
	return near
}

// NearPlane is what a node that does not lead follows of its plane, so that what it costs
// does not grow with the number of nodes. It cannot tell who else is there.
type NearPlane struct {
	PlaneCore
	// Members are at most the node that follows and the holder, in the order of their
	// ids. Their Candidacy is 0 unless it holds the term.
	Members []Member
}

// Member returns the live node of that id, if it is one of the two that are followed.
func (p *NearPlane) Member(id string) (Member, bool) { return member(p.Members, id) }

// Master is [Plane.Master].
func (p *NearPlane) Master() (Member, bool) { return p.master(p.Members) }

// HistoryEntry tells how one term began. The text forms are stored in etcd.
type HistoryEntry struct {
	Term   int64     `json:"term"`
	Node   string    `json:"node"`
	From   string    `json:"from"` // who led before; empty if nobody did
	Reason Reason    `json:"reason"`
	Since  time.Time `json:"since"`
	// GapMS is the time from seeing the old master's key go to the announcement,
	// by the new master's clock, in milliseconds; nil for a start.
	GapMS *int64 `json:"gap_ms"`
	// RebindMS is the time it took to have all state in memory, in milliseconds.
	RebindMS int64 `json:"rebind_ms"`
	Mementos int   `json:"mementos"`
}
