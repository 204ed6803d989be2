// Package evidence is what a run leaves behind: what the store went through, what
// clients asked and were told, what the nodes said of themselves, and what was done
// to them. A run is judged by this alone, so that one that was kept can be judged
// again, by a better judge.
//
// All times of a run are on one clock that only goes forward, and count from the
// start of the run. Values that clients write are unique in a run, so that each says
// which operation wrote it.
package evidence

import "time"

// Run is all that is known of one run.
type Run struct {
	Layer string // what it ran in: bubble, process or network
	Seed  uint64
	Root  string        // what the plane's keys begin with, with the slash at the end
	TTL   time.Duration // of leases, as granted

	// Events are everything that happened to keys under Root, from the first revision
	// on, in order.
	Events []Event `json:"-"`
	Ops    []Op    `json:"-"`
	Moves  []Move  `json:"-"`
	Acts   []Act   `json:"-"`
	Leases []Lease `json:"-"`
	Copies []Copy  `json:"-"`
	Faults []Fault `json:"-"`

	Head int64 // the store's revision when the history was read: nothing after it is known
	// Hands are the revisions at which somebody changed keys by hand. What was done
	// there is not judged, but counts: a term record that was overwritten holds nothing.
	Hands []int64
	// Enough is how many writes must have been acknowledged for the run to show
	// anything.
	Enough int
	// Slack is how late this machine may be to do what a clock told it to: 0 in fake
	// time, and never as much as the margin of a deadline.
	Slack time.Duration
	// Alive are the nodes that ran when all harm was healed and the run had come to
	// rest; nil if it was not brought to rest.
	Alive []string
}

// Event is one change of one key. Those of one transaction have one revision.
type Event struct {
	Revision int64
	Key      string // without Root
	Deleted  bool
	Value    []byte
	Created  int64 // the revision that made the key; 0 for a deletion
	Version  int64 // how often it was written since; 0 for a deletion
	Lease    int64 // 0 for none
}

// Outcome is what a client can say of an operation.
type Outcome string

// The outcomes of an operation. Unknown is what was cut off, or timed out.
const (
	OK      Outcome = "ok"      // it was done, at the revision told
	Refused Outcome = "refused" // it was not done, and will not be
	Unknown Outcome = "unknown" // it was done once, or not, or will be
)

// Op is one operation of a client. A client asks one thing at a time.
type Op struct {
	Client  string
	Node    string // through which it asked
	Changes []Change
	Read    *Read // for an operation that reads; it has no changes then

	Sent, Answered time.Duration // Answered counts only for OK and Refused
	Outcome        Outcome
	Revision       int64  // for OK: where it was done, or what was read
	Why            string // for Refused and Unknown: what was said
}

// Change is one change of a memento that an operation asks for.
type Change struct {
	Name    string // type/id
	Payload string // unique; not set for a deletion
	Delete  bool
	// If is the revision that the memento must have been modified at, 0 that it must
	// not exist; nil where the client did not care.
	If *int64
}

// Read is what a client read of one memento.
type Read struct {
	Name     string
	Found    bool
	Payload  string
	Modified int64
	// Latest says that the read promised the newest there was when it was asked for;
	// otherwise it promised the truth at Op.Revision.
	Latest bool
}

// Move is what a node said it became.
type Move struct {
	Node string
	At   time.Duration
	Mode string
	From string
	To   string // a state, as the record spells it
	Term int64  // for MASTER
	Why  string
}

// Act is one span in which a node acted as the master: from when its program was
// called, or MASTER was said, until that had ended.
type Act struct {
	Node     string
	Term     int64
	From, To time.Duration
	// Frozen says that the node stood still at some time in it. Two such spans may
	// overlap, as nobody can stop who is not running; what counts then is the fence.
	Frozen bool
}

// Lease is one grant or renewal of a lease that etcd acknowledged to a node.
type Lease struct {
	Node string
	ID   int64
	Sent time.Duration // when it was asked for
}

// Copy is what a node's mirror held at a revision.
type Copy struct {
	Node     string
	At       time.Duration
	Revision int64
	Count    int
	Digest   string // as Digest makes it
}

// Machine is the target of what nobody has done: the whole machine stood still.
const Machine = "machine"

// Fault is one thing that was done to the plane.
type Fault struct {
	What       string // its kind, one word for each row of the fault matrix
	Target     string // a node, a member of etcd, or a link
	From, To   time.Duration
	Detail     string
	Disturbing bool // the master, or etcd's quorum, is hit: a term may end by it
	Recurring  bool // it hits its target again, as long as it lasts, whenever that comes to lead
	// Taken says that the target's lease, candidacy or term was taken away by hand. A
	// master goes on then until it hears of it, or its lease would have lapsed; what
	// counts meanwhile is the fence.
	Taken bool
	// Limit is how long after From there is a master again, if a term ends by it; 0 for
	// no promise.
	Limit time.Duration
}
