package coordinator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// Errors of the plane. The reasons for a refusal are wrapped around them.
var (
	// ErrNodeTaken is returned when another live process has this node id.
	ErrNodeTaken = errors.New("node id is taken")
	// ErrMasterExists is returned when a node is to lead and another one does.
	ErrMasterExists = errors.New("a master exists")
	// ErrNoMaster is returned when something needs a master and there is none.
	ErrNoMaster = errors.New("no master")
	// ErrNotMaster is returned for a write on a node that does not lead.
	ErrNotMaster = errors.New("this node is not master")
	// ErrNotReadable is returned for a read on a node that holds no state.
	ErrNotReadable = errors.New("this node serves no reads")
	// ErrRefused is returned for an operator's request that the plane's present
	// condition forbids; nothing was changed.
	ErrRefused = errors.New("refused")
	// ErrPending is returned when an operator's request goes on although the
	// caller no longer waits for it.
	ErrPending = errors.New("still under way")
	// ErrStopped is returned by a node that has stopped or is stopping.
	ErrStopped = errors.New("node is stopping")
	// ErrLeaseLost is returned when a membership is over: its lease is gone, or
	// must be taken to be gone.
	ErrLeaseLost = errors.New("lease is lost")
	// ErrTermOver is the cause of a term's context when the term has ended.
	ErrTermOver = errors.New("term is over")
)

// TakenError is the [ErrNodeTaken] that names the holder.
type TakenError struct{ Holder Record }

// Error implements error.
func (e *TakenError) Error() string {
	return fmt.Sprintf("node id %s is taken by the process at %s, started %s",
		e.Holder.ID, e.Holder.URI, e.Holder.Started.Format(time.RFC3339))
}

// Is makes the error an [ErrNodeTaken].
func (e *TakenError) Is(target error) bool { return target == ErrNodeTaken }

// MasterExistsError is the [ErrMasterExists] that names the master.
type MasterExistsError struct{ Master string }

// Error implements error.
func (e *MasterExistsError) Error() string {
	return fmt.Sprintf("node %s is master: use handover to move mastership", e.Master)
}

// Is makes the error an [ErrMasterExists].
func (e *MasterExistsError) Is(target error) bool { return target == ErrMasterExists }

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
	Term      int64  `json:"term,omitempty"`
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

// Holder is the term record: who was last given the term.
type Holder struct {
	Term  int64     `json:"term"`
	Key   string    `json:"key"` // the election key that holds the term
	Node  string    `json:"node"`
	Since time.Time `json:"since"`
}

// Handover is a master's offer to pass its term on.
type Handover struct {
	ID    string    `json:"id"`
	From  string    `json:"from"`
	To    string    `json:"to"`
	Until time.Time `json:"until"`
}

// Plane is everything about a plane but its mementos, at one revision.
type Plane struct {
	Revision rebind.Revision
	// ID is the plane's stable random id, empty before the first term.
	ID string
	// Holder is the last term given; its Term is 0 before the first.
	Holder Holder
	// Held reports whether that term's election key lives. While it does nobody
	// else can lead, whether or not the holder has come as far as MASTER.
	Held bool
	// Handover is the offer now made, or nil.
	Handover *Handover
	// Members are the live nodes in the order of their ids.
	Members []Member
}

// Member returns the live node of that id.
func (p *Plane) Member(id string) (Member, bool) {
	for _, m := range p.Members {
		if m.ID == id {
			return m, true
		}
	}
	return Member{}, false
}

// Master returns the node that has announced itself as master of the term now
// held. Between an election and the announcement there is none.
func (p *Plane) Master() (Member, bool) {
	if !p.Held {
		return Member{}, false
	}
	m, ok := p.Member(p.Holder.Node)
	if !ok || m.State != modes.StateMaster || m.Term != p.Holder.Term {
		return Member{}, false
	}
	return m, true
}

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

// Store is where a plane lives. Its methods return the errors above and those of
// package rebind; a call whose context has no deadline is bounded by the store.
type Store interface {
	rebind.Source

	// TTL is the time to live that leases are asked for.
	TTL() time.Duration

	// Plane reads the plane by a linearizable read.
	Plane(ctx context.Context) (Plane, error)

	// Follow calls see with the plane as it is and then after each change, one
	// call at a time, leaving out what is overtaken while see runs. It blocks
	// until ctx ends or the store breaks the stream, and returns why.
	Follow(ctx context.Context, see func(Plane)) error

	// History returns the latest terms, newest first.
	History(ctx context.Context) ([]HistoryEntry, error)

	// Join publishes r on a new lease and keeps that lease alive until the
	// membership is lost or left. It returns a [*TakenError] if the node id has
	// a live record. After any other error nothing is left behind, or it lapses
	// with its lease.
	Join(ctx context.Context, r Record) (Membership, error)
}

// Membership is this node's presence in a plane: one lease that carries its
// record and its candidacy, so that both vanish together.
type Membership interface {
	// Publish replaces the record.
	Publish(ctx context.Context, r Record) error

	// Campaign stands for election and returns a term once its transaction has
	// committed, or once a handover has given it one. Before it takes a vacant
	// term it shows consider the plane and, if that says no, goes to the end of
	// the queue. Campaign blocks until it wins, ctx ends or the membership is
	// lost. After an error the node is out of the election: its election key is
	// gone, or the membership is lost and the key lapses with it. One call at a
	// time, and none while a term of this membership lasts.
	Campaign(ctx context.Context, consider func(Plane) bool) (Term, error)

	// Lost returns a channel that is closed when the membership is over; Cause
	// then says why. The record and the candidacy may live on until the lease
	// lapses: call Leave until it succeeds before joining again.
	Lost() <-chan struct{}
	Cause() error

	// Remaining is the time for which the lease can be relied on without another
	// renewal: to (sending of the last renewal + granted TTL - [Margin]), by a
	// clock that counts suspension. It is negative once that moment has passed.
	Remaining() time.Duration

	// Leave ends the membership and deletes record and candidacy at once. After
	// an error they lapse with the lease, or a further call deletes them.
	Leave(ctx context.Context) error
}

// Term is one mastership. It is over when its context ends, at the latest when
// the lease can no longer be relied on.
type Term interface {
	rebind.Writer

	// Number is the fencing token: higher than that of every earlier term.
	Number() int64
	// Revision is that of the term record. State older than it may lack writes
	// of the master before.
	Revision() rebind.Revision
	// Context ends with the term; its cause says why and is an [ErrTermOver].
	Context() context.Context

	// Announce publishes the record of a node that has become master and its
	// history entry in one fenced transaction.
	Announce(ctx context.Context, r Record, h HistoryEntry) error
	// Publish replaces the record under the fence.
	Publish(ctx context.Context, r Record) error
	// Offer publishes a handover under the fence; nil withdraws it.
	Offer(ctx context.Context, h *Handover) error
	// Pass gives the term to the candidate to, publishing r as this node's
	// record, in one fenced transaction that fails with [ErrRefused] if that
	// candidate is no longer in the election. After [rebind.ErrUnknown] the term
	// may or may not have passed.
	Pass(ctx context.Context, to Member, r Record) error
	// Resign ends the term and publishes r as this node's record, in one fenced
	// transaction.
	Resign(ctx context.Context, r Record) error
}

// Margin is how long before a lease of the given TTL can lapse its holder treats
// it as lapsed. It covers the delay of a deadline timer and the drift of the
// clocks during one TTL, not their offset.
func Margin(ttl time.Duration) time.Duration {
	return max(500*time.Millisecond, ttl/10)
}
