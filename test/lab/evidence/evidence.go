// Package evidence is what a run leaves behind: the store's history, what clients asked and
// were answered, what the nodes said about themselves, and what was done to them. A run is
// judged by this alone, so that a kept run can be judged again by a better judge.
//
// All times of a run are on one monotonic clock and count from the start of the run. Values
// that clients write are unique in a run, so that each identifies the operation that wrote
// it.
package evidence

import "time"

// Run is all that is known of one run.
type Run struct {
	Layer string // the layer: bubble, process or network
	Seed  uint64
	Root  string        // prefix of the plane's keys, with the trailing slash
	TTL   time.Duration // of leases, as granted

	// Events are all changes of keys under Root, in order, from the first revision on.
	Events []Event `json:"-"`
	Ops    []Op    `json:"-"`
	Moves  []Move  `json:"-"`
	Acts   []Act   `json:"-"`
	Leases []Lease `json:"-"`
	Copies []Copy  `json:"-"`
	Faults []Fault `json:"-"`

	Head int64 // the store's revision when the history was read: nothing after it is known
	// Hands are the revisions at which somebody changed keys by hand. Those changes are not
	// judged, but they count: a term record that was overwritten holds nothing.
	Hands []int64
	// Enough is how many writes must have been acknowledged for the run to prove anything.
	Enough int
	// Slack is how late this machine may react to a clock: 0 in virtual time, and always
	// less than the margin of a deadline.
	Slack time.Duration
	// Alive are the nodes that ran when all faults were healed and the run had come to
	// rest; nil if it was not brought to rest.
	Alive []string
}

// Event is one change of one key. The changes of one transaction have the same revision.
type Event struct {
	Revision int64
	Key      string // without Root
	Deleted  bool
	Value    []byte
	Created  int64 // the revision that created the key; 0 for a deletion
	Version  int64 // how often it was written since; 0 for a deletion
	Lease    int64 // 0 for none
}

// Outcome is what a client knows about the result of an operation.
type Outcome string

// The outcomes of an operation. Unknown means that it was cut off or timed out.
const (
	OK      Outcome = "ok"      // it was done, at the revision given
	Refused Outcome = "refused" // it was not done, and will not be
	Unknown Outcome = "unknown" // it was done once, or not, or will be
)

// Op is one operation of a client. A client has one operation at a time.
type Op struct {
	Client  string
	Node    string // the node that was asked
	Changes []Change
	Read    *Read // for an operation that reads; it then has no changes

	Sent, Answered time.Duration // Answered counts only for OK and Refused
	Outcome        Outcome
	Revision       int64  // for OK: the revision of the change, or of the read
	Why            string // for Refused and Unknown: the message
}

// Change is one change of a memento that an operation requests.
type Change struct {
	Name    string // type/id
	Payload string // unique; not set for a deletion
	Delete  bool
	// If is the modification revision that the memento must have; 0: it must not exist;
	// nil: no condition.
	If *int64
}

// Read is what a client read of one memento.
type Read struct {
	Name     string
	Found    bool
	Payload  string
	Modified int64
	// Latest says that the read promised the newest value at the time of the request;
	// otherwise it promised the value at Op.Revision.
	Latest bool
}

// Move is a state that a node said it has reached.
type Move struct {
	Node string
	At   time.Duration
	Mode string
	From string
	To   string // a state, as spelled in the record
	Term int64  // for MASTER
	Why  string
}

// Act is one span in which a node acted as the master: from the call of its program, or
// from the announcement of MASTER, until that had ended.
type Act struct {
	Node     string
	Term     int64
	From, To time.Duration
	// Frozen says that the node stood still at some time in the span. Such spans may
	// overlap, since a process that does not run cannot stop; the fence protects the data
	// then.
	Frozen bool
}

// Lease is one grant or renewal of a lease that etcd acknowledged to a node.
type Lease struct {
	Node string
	ID   int64
	Sent time.Duration // when it was requested
}

// Copy is the content of a node's mirror at a revision.
type Copy struct {
	Node     string
	At       time.Duration
	Revision int64
	Count    int
	Digest   string // as returned by Digest
}

// Machine is the target of a fault that nobody has caused: the whole machine stood still.
const Machine = "machine"

// Fault is one thing that was done to the plane.
type Fault struct {
	What       string // its kind, one word for each row of the fault matrix
	Target     string // a node, a member of etcd, or a link
	From, To   time.Duration
	Detail     string
	Disturbing bool // the master, or etcd's quorum, is hit: a term may end by it
	Recurring  bool // it hits its target again whenever that comes to lead, as long as it lasts
	// Taken says that the target's lease, candidacy or term was taken away by hand. The
	// master then acts until it hears of it, or until its lease would have lapsed; the
	// fence protects the data meanwhile.
	Taken bool
	// Limit is how long after From there must be a master again, if a term ends by the
	// fault; 0: no promise.
	Limit time.Duration
}
