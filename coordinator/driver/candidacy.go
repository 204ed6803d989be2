package driver

import "context"

// This file declares what a candidate asks of a store.

// Candidacy is a node's part in one election, on the lease of its [Presence]. The store
// keeps the candidates in a queue and says what it knows. The node decides: when to look,
// whether to begin a term, to go to the end of the queue, or to leave.
//
// The queue is a convention between candidates, and no candidate has to respect it. A term
// begins by the transaction of [Candidacy.Begin] alone.
//
// A candidacy is over when Begin or Accept has returned a term, when Leave has returned,
// or when the presence is lost. Until then one goroutine at a time may use it.
type Candidacy interface {
	// Changed returns a channel that is closed, or receives, when Position may have changed
	// since this call. One receive stands for any number of changes, and it may come
	// without a change. Ask for it before Position, and wait after that.
	Changed() <-chan struct{}

	// Position tells what the store has said of this candidacy by itself. It asks nobody, and
	// it is as late as the store's notifications are.
	Position() Position

	// Look reads the whole plane at one revision. Its cost grows with the plane, and all
	// candidates hear of the same changes: look only where that can change what the node
	// does. Where the candidate's wait in the queue has failed, Look returns why and has it
	// wait again, at the place that it has, or at the end if it has none.
	Look(ctx context.Context) (Situation, error)

	// Begin begins a term by one transaction, which commits only if everything still holds
	// that s was judged by: this candidate's key, the term record and the key of its
	// holder, the plane's identity, that no disabled node has the plane, and what
	// conditions add. It returns [ErrChanged] if something of that has changed: nothing was
	// written. After any other error the outcome is unknown: the next Look, or Position, finds
	// a term that has begun to be awarded.
	Begin(ctx context.Context, s Situation, conditions Conditions) (Term, error)

	// Accept returns the term of which Position or the last Look has said that it is awarded.
	// It asks nobody. It returns [ErrChanged] if none is awarded.
	Accept() (Term, error)

	// Requeue moves the candidate to the end of the queue, by a new key where its own is
	// gone. It returns [ErrChanged], and has moved nothing, if a term has been given since
	// the last Position or Look: it may have been given to this very candidate.
	Requeue(ctx context.Context) error

	// Leave takes the candidate out of the election because of why. It returns nil once its
	// key is known to be gone. If that cannot be brought about the presence ends, so that
	// the key lapses with the lease, and Leave returns the cause, which wraps why. It blocks
	// for some seconds at most.
	Leave(ctx context.Context, why error) error
}

// Position is where a candidate stands in the election, as far as the store has told.
type Position struct {
	// Term is the number of the last term that anybody has begun.
	Term int64
	// Awarded says that this last term is the candidate's and waits for
	// [Candidacy.Accept]: a handover has given it, or the answer to Begin was lost.
	Awarded bool
	// Queued says that the candidate's key is there.
	Queued bool
	// Turn says that no candidate is before this one. A store may be wrong about that.
	Turn bool
	// Spent says that the candidate's key is older than the last term, and can win none.
	Spent bool
	// Gone says that somebody has deleted the candidate's key.
	Gone bool
	// Failed says that waiting in the queue has failed: [Candidacy.Look] tells why.
	Failed bool
}

// Situation is a plane as a candidate has seen it.
type Situation struct {
	Plane Plane
	// Awarded says that the last term is the candidate's and waits for [Candidacy.Accept].
	Awarded bool
	// Open says that the candidate can begin a term: nobody holds one, and its key is there
	// and has not been overtaken by the last term.
	Open bool
	// Basis is what [Candidacy.Begin] compares. It is the store's own.
	Basis any
}

// Conditions are what a term is begun with.
type Conditions struct {
	// PlaneID is the id that a plane gets which has none; empty for a random one. After is a
	// number that the term has to exceed. A plane that was restored from a backup, or edited,
	// knows less than a node that saw more.
	PlaneID string
	After   int64
	// InPause has the term begin though a pause is in force.
	InPause bool
	// Alone has the term begin only while no other node is in the plane.
	Alone bool
}
