package judge

import (
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

var forgedOperations = []forged{
	{"an acknowledged write that is not there", func(f *forgery) {
		f.memento("y", "a", 3, "other")
		f.asks(evidence.OK, f.Head, "z=two")
	}, "I-6 to z is not there"},
	{"an acknowledged write at another revision", func(f *forgery) {
		f.memento("y", "a", 3, "two")
		f.asks(evidence.OK, f.memento("z", "a", 3, "other"), "y=two")
	}, "I-6 to y is not there"},
	{"an acknowledged deletion that is not there", func(f *forgery) { f.asks(evidence.OK, f.Head, "x=") }, "I-6 to x is not there"},
	{"a read that misses what was written", func(f *forgery) { f.reads(true, 5, "", 0) }, "I-6 no order"},
	{"a conditional write on a condition that did not hold", func(f *forgery) {
		never := int64(0)
		f.writes("two", f.memento("x", "a", 3, "two")).Changes[0].If = &never
	}, "I-6 no order"},
	{"a payload nobody has asked for", func(f *forgery) { f.memento("x", "a", 3, "two") }, "I-7 nobody has asked for"},
	{"a deletion nobody has asked for", func(f *forgery) { f.del("mementos/x") }, "I-7 nobody has asked for the deletion"},
	{"a payload that is brought back", func(f *forgery) {
		f.writes("two", f.memento("x", "a", 3, "two"))
		f.put("mementos/x", "memento/1 node=a term=3 op=3\none", 0)
	}, "I-7 brought back"},
	{"a payload in another memento", func(f *forgery) { f.put("mementos/y", "memento/1 node=a term=3 op=3\none", 0) }, "I-7 was written to x"},
	{"a payload that is applied twice", func(f *forgery) { f.put("mementos/x", "memento/1 node=a term=3 op=3\none", 0) }, "I-8 applied twice"},
	{"an operation at two revisions", func(f *forgery) { f.put("mementos/y", "memento/1 node=a term=3 op=one\ntwo", 0) }, "I-8 operation one on"},
	{"a refused write that is there", func(f *forgery) {
		f.asks(evidence.Refused, 0, "x=two").Why = "no master"
		f.memento("x", "a", 3, "two")
	}, "I-8 was refused (no master)"},
	{"half a batch that was acknowledged", func(f *forgery) {
		f.asks(evidence.OK, f.memento("x", "a", 3, "two"), "x=two", "y=three")
	}, "I-14 that of y is missing"},
	{"half a batch of which nobody knows", func(f *forgery) {
		f.memento("x", "a", 3, "two")
		f.asks(evidence.Unknown, 0, "x=two", "y=three")
	}, "I-14 that of y is missing"},
	{"a batch at two revisions", func(f *forgery) {
		f.memento("y", "a", 3, "two")
		f.asks(evidence.OK, f.memento("x", "a", 3, "three"), "x=three", "y=two")
	}, "I-14 that of y is missing"},
	{"a batch without its deletion", func(f *forgery) {
		f.asks(evidence.OK, f.memento("y", "a", 3, "two"), "y=two", "x=")
	}, "I-14 that of x is missing"},
}

// copyOf adds a copy of b's.
func (f *forgery) copyOf(revision int64, at time.Duration, mementos ...evidence.Memento) {
	f.Copies = append(f.Copies, evidence.Copy{
		Node: "b", At: at, Revision: revision, Count: len(mementos), Digest: evidence.Digest(mementos),
	})
}

var one = evidence.Memento{Name: "x", Payload: "one", Modified: 6}

var forgedCopies = []forged{
	{"copies that are right", func(f *forgery) {
		f.copyOf(5, 1)
		f.copyOf(6, 2, one)
		f.asks(evidence.OK, f.memento("y", "a", 3, "two"), "y=two")
		f.copyOf(f.Head, 3, one, evidence.Memento{Name: "y", Payload: "two", Modified: f.Head})
	}, ""},
	{"a copy that has too little", func(f *forgery) { f.copyOf(6, 1) }, "I-12 0 mementos, want 1"},
	{"a copy of another payload", func(f *forgery) { f.copyOf(6, 1, evidence.Memento{Name: "x", Payload: "two", Modified: 6}) }, "I-12 differs"},
	{"a copy of another revision", func(f *forgery) { f.copyOf(6, 1, evidence.Memento{Name: "x", Payload: "one", Modified: 5}) }, "I-12 differs"},
	{"a copy that goes back", func(f *forgery) {
		f.copyOf(7, 1, one)
		f.copyOf(6, 2, one)
	}, "I-13 goes back from revision 7 to 6"},
	{"a copy that is newer than the history", func(f *forgery) { f.copyOf(f.Head+1, 1, one) }, "invalid newer than the history"},
	{"reads that are old and true", func(f *forgery) {
		f.reads(false, 5, "", 0)
		f.reads(false, 6, "one", 6)
	}, ""},
	{"a read that is not true", func(f *forgery) { f.reads(false, 6, "two", 6) }, "I-12 the store has true"},
	{"a read of what is not there", func(f *forgery) { f.reads(false, 5, "one", 6) }, "I-12 the store has false"},
	{"a read that goes back", func(f *forgery) {
		f.reads(false, 6, "one", 6)
		f.reads(false, 5, "", 0)
	}, "I-13 at revision 5, after it has at 6"},
}

// second is a short time in a forged run.
const second = time.Second

// led adds the evidence of two masters, the second of which follows a fault.
func (f *forgery) led(fault evidence.Fault, after time.Duration) {
	f.fail()
	f.succeed()
	f.Faults = []evidence.Fault{fault}
	f.Moves = []evidence.Move{{Node: "a", To: "MASTER", Term: 3, At: second}, {Node: "b", To: "MASTER", Term: 9, At: after}}
}

// acts adds two spans of acting, and a renewal of a's lease.
func (f *forgery) acts(end, next time.Duration, frozen bool) {
	f.fail()
	f.succeed()
	f.Acts = []evidence.Act{{Node: "a", Term: 3, From: second, To: end, Frozen: frozen}, {Node: "b", Term: 9, From: next, To: next + second}}
	f.Leases = []evidence.Lease{
		{Node: "a", ID: leaseA},
		{Node: "a", ID: leaseA, Sent: 2 * second},
		{Node: "a", ID: 0xd, Sent: 3 * second},
		{Node: "b", ID: leaseB, Sent: 5 * second},
	}
}

// actsAgain makes a act once more in its term, while b acts in the next.
func (f *forgery) actsAgain() {
	f.acts(4*second, 5*second, false)
	f.Acts = append(f.Acts, evidence.Act{Node: "a", Term: 3, From: 5500 * time.Millisecond, To: 5600 * time.Millisecond})
}

var forgedTimes = []forged{
	{"acting to the deadline", func(f *forgery) { f.acts(7400*time.Millisecond, 8*second, false) }, ""},
	{"acting beyond the deadline", func(f *forgery) { f.acts(7401*time.Millisecond, 8*second, false) }, "I-9 a acts in term 3 until 1ms after"},
	{"acting beyond the deadline in a frozen node", func(f *forgery) { f.acts(20*second, 8*second, true) }, ""},
	{"acting a little late on a slow machine", func(f *forgery) {
		f.Slack = 100 * time.Millisecond
		f.acts(7500*time.Millisecond, 8*second, false)
	}, ""},
	{"acting without a lease", func(f *forgery) {
		f.acts(5*second, 8*second, false)
		f.Leases = f.Leases[:3]
	}, "I-9 b acts in term 9 without"},
	{"two that act at once", func(f *forgery) { f.acts(6*second, 5*second, false) }, "I-10 act at once for 1s"},
	{"two that act at once, one of them again", func(f *forgery) { f.actsAgain() }, "I-10 act at once for 100ms"},
	{"acting again in a term that was taken by hand meanwhile", func(f *forgery) {
		f.actsAgain()
		f.Faults = []evidence.Fault{{What: "drop-term", Target: "a", Disturbing: true, Taken: true, From: 4500 * time.Millisecond}}
	}, ""},
	{"acting again long after the term was taken by hand", func(f *forgery) {
		f.actsAgain()
		f.Acts[1].To, f.Acts[2].From, f.Acts[2].To = 15*second, 11*second, 11100*time.Millisecond
		f.Leases = append(f.Leases, evidence.Lease{Node: "a", ID: leaseA, Sent: 10 * second}, evidence.Lease{Node: "b", ID: leaseB, Sent: 10 * second})
		f.Faults = []evidence.Fault{{What: "drop-term", Target: "a", Disturbing: true, Taken: true, From: 4500 * time.Millisecond}}
	}, "I-10 act at once for 100ms"},
	{"a failover in time", func(f *forgery) {
		f.led(evidence.Fault{What: "kill", Target: "a", Disturbing: true, From: 2 * second, Limit: 7 * second}, 9*second)
	}, ""},
	{"a failover that comes late", func(f *forgery) {
		f.led(evidence.Fault{What: "kill", Target: "a", Disturbing: true, From: 2 * second, Limit: 7 * second}, 10*second)
	}, "I-28 b leads 8s after kill of a, which is 1s too late"},
	{
		"a change for no reason", func(f *forgery) { f.led(evidence.Fault{What: "kill", Target: "c", From: 2 * second}, 9*second) },
		"I-33 1 changes of master, 0 faults",
	},
	{"a change for a reason that was there when its node came to lead", func(f *forgery) {
		f.led(evidence.Fault{What: "starve", Target: "a", Recurring: true, To: 4 * second}, 9*second)
	}, ""},
	{"a change for a reason that was over less than a TTL when its node came to lead", func(f *forgery) {
		f.led(evidence.Fault{What: "starve", Target: "a", Recurring: true, To: second / 2}, 9*second)
	}, ""},
	{"a change for a reason that was over when its node came to lead", func(f *forgery) {
		f.led(evidence.Fault{What: "starve", Target: "a", Recurring: true, From: -6 * second, To: -5*second - 1}, 9*second)
	}, "I-33 1 changes of master, 0 faults"},
	{"a change that is explained by what its winner suffers", func(f *forgery) {
		f.led(evidence.Fault{What: "starve", Target: "b", Recurring: true, From: 4 * second, To: 5 * second}, 9*second)
	}, "I-33 the change number 1 after 0 faults"},
	{"a change before its reason", func(f *forgery) {
		f.led(evidence.Fault{What: "kill", Target: "a", Disturbing: true, From: 10 * second}, 9*second)
	}, "I-33 the change number 1 after 0 faults"},
	{"an end without a master", func(f *forgery) {
		f.rest()
		f.record("a", leaseA, "HOT_STANDBY", "auto", 0)
	}, "I-34 nobody leads"},
	{"an end with a node missing", func(f *forgery) {
		f.rest()
		f.Alive = append(f.Alive, "c")
	}, `I-34 c lives, and its record says ""`},
	{"an end without a write", func(f *forgery) {
		f.rest()
		f.Faults[0].To = time.Minute
	}, "I-34 no write that was sent after all harm"},
	{"an end with a copy behind", func(f *forgery) {
		f.rest()
		f.Copies = nil
		f.copyOf(5, 1)
	}, "I-34 the copy of b ends at revision 5"},
}

var forgedEvidence = []forged{
	{"a gap in a key's history", func(f *forgery) {
		f.record("b", leaseB, "HOT_STANDBY", "auto", 0)
		f.record("b", leaseB, "HOT_STANDBY", "auto", 0)
		f.Events = append(f.Events[:len(f.Events)-2], f.Events[len(f.Events)-1])
	}, "invalid nodes/b has a gap"},
	{"a store that was not empty", func(f *forgery) {
		f.put("meta", "{}", 0)
		f.Events[len(f.Events)-1].Version = 2
	}, "invalid meta has a gap"},
	{"a history without its end", func(f *forgery) { f.Head-- }, "invalid that ends at"},
	{"an operation after the end", func(f *forgery) {
		f.asks(evidence.OK, f.memento("x", "a", 3, "two"), "x=two")
		f.reads(false, f.Head+1, "two", f.Head)
	}, "invalid outside of the history"},
	{"too little asked", func(f *forgery) { f.Enough = 2 }, "invalid 1 writes were acknowledged"},
	{"a client that asks two things at a time", func(f *forgery) {
		f.asks(evidence.Refused, 0, "y=two").Sent = f.Ops[0].Sent + 1
	}, "invalid asks before it is answered"},
	{"an answer before its question", func(f *forgery) { f.asks(evidence.Refused, 0, "y=two").Answered = 0 }, "invalid is answered before"},
	{"a payload that is not unique", func(f *forgery) { f.asks(evidence.Unknown, 0, "x=one") }, "invalid not unique"},
	{"an outcome that is none", func(f *forgery) { f.asks("perhaps", 0, "y=two") }, `invalid outcome "perhaps"`},
	{"an operation of nothing", func(f *forgery) { f.asks(evidence.Refused, 0) }, "invalid neither reads nor changes"},
	{"an act that ends before it begins", func(f *forgery) {
		f.Acts = []evidence.Act{{Node: "a", Term: 3, From: 2 * second, To: second}}
	}, "invalid before it begins"},
	{"a slack that hides everything", func(f *forgery) { f.Slack = second }, "invalid a slack of 1s"},
}

// A history for which no order is found in time is no proof: this is reported.
func TestOrdered_GivesUpInTime(t *testing.T) {
	f := forge()
	var steps []porcupine.Operation
	for range 64 { // at the same time, and then a read that no order of them explains
		steps = append(steps, porcupine.Operation{Input: step{change: &evidence.Change{Payload: "one"}, revision: int64(len(steps) + 1)}, Return: 1})
	}
	steps = append(steps, porcupine.Operation{Input: step{read: &evidence.Read{}}, Call: 2, Return: 3})
	v := &trial{run: &f.Run}
	v.ordered("x", steps, 10*time.Millisecond)
	if found := v.verdict.Findings; len(found) != 1 || found[0].Invariant != Invalid {
		t.Errorf("findings %v", found)
	}
}

// The counts of a verdict are those of a score card.
func TestCheck_Counts(t *testing.T) {
	f := forge()
	f.led(evidence.Fault{What: "kill", Target: "a", Disturbing: true, From: 2 * second}, 9*second)
	f.asks(evidence.Refused, 0, "x=two")
	f.asks(evidence.Unknown, 0, "x=three")
	f.reads(true, f.Head, "one", 6)
	f.copyOf(f.Head, 1, one)
	v := Check(&f.Run)
	if len(v.Findings) != 0 {
		t.Fatal(v.Findings)
	}
	for what, pair := range map[string][2]int{
		"revisions": {v.Revisions, 10}, "acknowledged": {v.Operations[evidence.OK], 2}, "refused": {v.Operations[evidence.Refused], 1},
		"unknown": {v.Operations[evidence.Unknown], 1}, "histories": {v.Histories, 1}, "operations in them": {v.Linear, 2},
		"copies": {v.Copies, 1}, "reads": {v.Reads, 1}, "kills": {v.Faults["kill"], 1}, "terms": {len(v.Terms), 2},
		"writes of x": {v.Written["x"], 1},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%d %s, want %d", pair[0], what, pair[1])
		}
	}
	if len(v.Failovers) != 1 || v.Failovers[0] != (Failover{"kill", 7 * second}) || v.Latest["x"] != "one" || v.Overlap != 0 {
		t.Errorf("%+v", v)
	}
	for _, f := range []Finding{{"I-1", 3, 0, "x"}, {"I-9", 0, second, "x"}, {"I-33", 0, 0, "x"}} {
		if !strings.HasPrefix(f.String(), f.Invariant) || !strings.HasSuffix(f.String(), ": x") {
			t.Error(f.String())
		}
	}
}
