package driver

import (
	"context"
	"time"

	"github.com/coordinator-ha/coordinator/rebind"
)

// This file declares what a store implements: the store itself, a node's presence, and a term.

// Store is where a plane lives. Its methods return the errors above and those of
// package rebind; a call whose context has no deadline is bounded by the store.
type Store interface {
	Source

	// TTL is the time to live that leases have: what the store granted last or, before
	// it has granted any, what it is asked for.
	TTL() time.Duration

	// Health tells what is known of the store as a whole. It asks nobody.
	Health() Health

	// Plane reads the plane by a linearizable read.
	Plane(ctx context.Context) (Plane, error)

	// Writable tells whether the store takes the writes that the node of r has to make
	// in its mode, by ones that change nothing: nil, or why not, such as
	// [ErrStoreFull] or [ErrDenied].
	Writable(ctx context.Context, r Record) error

	// Size counts the live nodes by a linearizable read.
	Size(ctx context.Context) (int, error)

	// Follow calls see with the plane as it is and then after each change, one
	// call at a time, leaving out what is overtaken while see runs. It blocks
	// until ctx ends or the store breaks the stream, and returns why.
	Follow(ctx context.Context, see func(Plane)) error

	// FollowNear is Follow for a node that does not lead: it shows only what concerns
	// that node, and only changes of that.
	FollowNear(ctx context.Context, node string, see func(NearPlane)) error

	// History returns the latest terms, newest first.
	History(ctx context.Context) ([]HistoryEntry, error)

	// Past returns up to limit mementos as they were at a revision, in the order of
	// their names, beginning with the first that is not before start, and whether
	// there are more. It returns [ErrCompacted] for what the store no longer
	// has and [ErrAhead] for what it does not have yet.
	Past(ctx context.Context, at rebind.Revision, start rebind.Name, limit int) (found []rebind.Change, more bool, err error)

	// Join publishes r on a new lease and keeps that lease alive until the
	// presence is lost or left. It returns a [*TakenError] if the node id has
	// a live record, or if the lease that an earlier process of this node is said to
	// have left behind is a living one's, and [ErrExclusive] while a disabled node has the
	// plane. After any other error nothing is left behind, or it lapses with its lease.
	Join(ctx context.Context, r Record) (Presence, error)

	// JoinExclusive takes the whole plane for the node of r, which is disabled: on a new
	// lease, while no other node is here, it keeps all others out. It returns the
	// lease and a term whose writes rest on it. planeID is for a plane that has none yet,
	// empty for a random one. It returns [ErrExclusive] where another node is in the
	// plane, and a [*TakenError] as Join does.
	JoinExclusive(ctx context.Context, r Record, planeID string) (Presence, ExclusiveTerm, error)

	// Pause puts p in force, in the place of one that is; Resume ends it.
	Pause(ctx context.Context, p Pause) error
	Resume(ctx context.Context) error

	// Forget deletes what is kept of a node that left. It returns [ErrNoNode] if
	// nothing is.
	Forget(ctx context.Context, node string) error
}

// Health is what is known of a store beside its answers.
type Health struct {
	// Refuses says why the store takes no write at all, such as
	// [ErrStoreCorrupt]; nil if nothing of the kind is known.
	Refuses error
	// Notes tell people what is not as it should be, and what to do.
	Notes []string
}

// Presence is a node's presence in a plane: one lease that carries its record and its
// candidacy, so that both vanish together.
type Presence interface {
	// Publish replaces the record, also one that was not put there by a process of this
	// node. It returns [ErrNodeTaken] where another process of this node has put it.
	Publish(ctx context.Context, r Record) error

	// Owns reports whether the record of a member hangs on this lease.
	Owns(m Member) bool

	// Stand enters this node into the election, at the end of the queue. ctx bounds the
	// call and not the candidacy. It returns the cause of a presence that is lost. One
	// candidacy at a time, and none while a term of this presence lasts.
	Stand(ctx context.Context) (Candidacy, error)

	// Lost returns a channel that is closed when the presence is over; Cause then says why.
	// A store that renews the lease and answers nothing else for [StallLimit] is lost as
	// well, with an [ErrStuck]. The record and the candidacy may live on until the lease
	// lapses: call Leave until it succeeds before joining again.
	Lost() <-chan struct{}
	Cause() error

	// Remaining is the time for which the lease can be relied on without another
	// renewal: to (sending of the last renewal + granted TTL - [Margin]), by a
	// clock that counts suspension, but not beyond [StallLimit] after the last Heartbeat.
	// It is negative once that moment has passed.
	Remaining() time.Duration

	// Heartbeat says that the node is well. Once it has been called, the lease is relied on
	// and renewed for no longer than [StallLimit] after the last call, so that a node that
	// hangs loses what it holds. It returns at once.
	Heartbeat()

	// Leave ends the presence and deletes record and candidacy at once. After an error they
	// lapse with the lease, or a further call deletes them. A last that is not nil stays
	// visible among the nodes that left, if the store has room.
	Leave(ctx context.Context, last *Departed) error
}

// AnyTerm is what every term has. It is over when its context ends, at the latest when the
// lease can no longer be relied on.
type AnyTerm interface {
	Writer

	// Number is the fencing token: higher than that of every earlier term.
	Number() int64
	// PlaneID is the id of the plane as the term began, which its transaction may have
	// founded; empty after a handover, whose target has been in the plane before.
	PlaneID() string
	// Revision is the one at which the term began. State older than it may lack writes
	// of the master before.
	Revision() rebind.Revision
	// Context ends with the term; its cause says why and is an [ErrTermOver].
	Context() context.Context
	// Clear deletes all mementos and returns the revision at which they are gone.
	Clear(ctx context.Context) (rebind.Revision, error)
}

// Term is one mastership of a plane that nodes share.
type Term interface {
	AnyTerm

	// Announce publishes the record of a node that has become master and its
	// history entry in one fenced transaction.
	Announce(ctx context.Context, r Record, h HistoryEntry) error
	// Publish replaces the record under the fence.
	Publish(ctx context.Context, r Record) error
	// RecordDeparture keeps what is known of a node that vanished, unless it is back.
	RecordDeparture(ctx context.Context, l Departed) error
	// CheckHandover tells whether this node may make the writes of a handover to the
	// candidate to, without making them.
	CheckHandover(ctx context.Context, to Member) error
	// Offer publishes a handover under the fence and fills in when it was made, or 0 where
	// it was sent twice, since its target may then have seen it earlier; nil withdraws it.
	Offer(ctx context.Context, h *Offer) error
	// Pass gives the term to the candidate to, publishing r as this node's
	// record, in one fenced transaction that fails with [ErrRefused] if that
	// candidate is no longer in the election. After [rebind.ErrUnknown] the term
	// may or may not have passed.
	Pass(ctx context.Context, to Member, r Record) error
	// Resign ends the term and publishes r as this node's record, in one fenced
	// transaction.
	Resign(ctx context.Context, r Record) error
}

// ExclusiveTerm is the term of a disabled node, which has the plane to itself. The plane
// shows no record of that node.
type ExclusiveTerm interface {
	AnyTerm

	// Resign ends the term and lets other nodes into the plane.
	Resign(ctx context.Context) error
}

// Margin is how long before a lease of the given TTL can lapse its holder treats
// it as lapsed. It covers the delay of a deadline timer and the drift of the
// clocks during one TTL, not their offset.
func Margin(ttl time.Duration) time.Duration {
	return max(500*time.Millisecond, ttl/10)
}
