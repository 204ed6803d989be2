package judge

import (
	"fmt"
	"strings"
	"time"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// forgery is the evidence of a run that never happened. It begins as a correct one: a leads
// term 3 and has written x for a client, and b stands by.
type forgery struct {
	evidence.Run
	stands map[string]evidence.Event
	clock  time.Duration
}

// Leases of the nodes.
const leaseA, leaseB = 0xa, 0xb

func forge() *forgery {
	f := &forgery{stands: make(map[string]evidence.Event)}
	f.Root, f.Head, f.TTL = "/p/", 1, 6*time.Second
	f.record("a", leaseA, "HOT_STANDBY", "auto", 0)
	f.put("election/a", "a", leaseA)
	f.put("term", `{"term":3,"key":"/p/election/a","node":"a"}`, 0)
	f.record("a", leaseA, "MASTER", "auto", 3)
	f.writes("one", f.memento("x", "a", 3, "one"))
	f.record("b", leaseB, "HOT_STANDBY", "auto", 0)
	f.put("election/b", "b", leaseB)
	return f
}

// put and del add an event with a revision of its own; after with, the next event shares
// the revision of the last. Each returns its revision.
func (f *forgery) put(key, value string, lease int64) int64 {
	f.Head++
	ev, there := f.stands[key]
	if !there {
		ev.Created = f.Head
	}
	ev.Revision, ev.Key, ev.Value, ev.Lease, ev.Version = f.Head, key, []byte(value), lease, ev.Version+1
	f.stands[key] = ev
	f.Events = append(f.Events, ev)
	return f.Head
}

func (f *forgery) del(key string) int64 {
	f.Head++
	delete(f.stands, key)
	f.Events = append(f.Events, evidence.Event{Revision: f.Head, Key: key, Deleted: true})
	return f.Head
}

func (f *forgery) with() *forgery { f.Head--; return f }

func (f *forgery) byHand() { f.Hands = append(f.Hands, f.Head) }

func (f *forgery) record(node string, lease int64, state, mode string, term int64) {
	f.put("nodes/"+node, fmt.Sprintf(`{"id":%q,"state":%q,"mode":%q,"term":%d}`, node, state, mode, term), lease)
}

// memento puts one in an operation whose id is its payload.
func (f *forgery) memento(name, node string, term int64, payload string) int64 {
	return f.put("mementos/"+name, fmt.Sprintf("memento/1 node=%s term=%d op=%s type=text/plain; op=none\n%s", node, term, payload, payload), 0)
}

// fail is the end of a's lease, and succeed is what b then does.
func (f *forgery) fail() {
	f.del("nodes/a")
	f.with().del("election/a")
}

func (f *forgery) succeed() {
	f.put("term", `{"term":9,"key":"/p/election/b","node":"b"}`, 0)
	f.record("b", leaseB, "MASTER", "auto", 9)
}

// exclusive is a disabled node that takes the plane when all have left.
func (f *forgery) exclusive() {
	f.fail()
	f.del("nodes/b")
	f.with().del("election/b")
	f.put("guard", `{"node":"s"}`, 0xc)
}

// op adds an operation that takes a second, after all others.
func (f *forgery) op(op evidence.Op) *evidence.Op {
	f.clock += time.Second
	op.Client, op.Sent, op.Answered = "client", f.clock, f.clock+time.Second
	f.clock += time.Second
	f.Ops = append(f.Ops, op)
	return &f.Ops[len(f.Ops)-1]
}

// writes adds the acknowledged write of a payload to x.
func (f *forgery) writes(payload string, revision int64) *evidence.Op {
	return f.op(evidence.Op{Outcome: evidence.OK, Revision: revision, Changes: []evidence.Change{{Name: "x", Payload: payload}}})
}

// asks adds a write of payloads, name=payload, or of deletions, name=.
func (f *forgery) asks(outcome evidence.Outcome, revision int64, changes ...string) *evidence.Op {
	op := evidence.Op{Outcome: outcome, Revision: revision}
	for _, c := range changes {
		name, payload, _ := strings.Cut(c, "=")
		op.Changes = append(op.Changes, evidence.Change{Name: name, Payload: payload, Delete: payload == ""})
	}
	return f.op(op)
}

// reads adds a read of x.
func (f *forgery) reads(latest bool, revision int64, payload string, modified int64) *evidence.Op {
	return f.op(evidence.Op{Outcome: evidence.OK, Revision: revision, Node: "b", Read: &evidence.Read{
		Name: "x", Found: payload != "", Payload: payload, Modified: modified, Latest: latest,
	}})
}
