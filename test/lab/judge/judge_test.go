package judge

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// forged breaks one rule, or none.
type forged struct {
	name   string
	breaks func(f *forgery)
	want   string // the invariant of the one finding, and a part of its text; empty for none
}

// The judge itself is tested: each rule, broken once, is reported and nothing else is; a
// correct run has no finding.
func TestCheck_TellsEachBrokenRule(t *testing.T) {
	for group, cases := range map[string][]forged{
		"right": rightRuns, "writers": forgedWriters, "terms": forgedTerms, "records": forgedRecords,
		"operations": forgedOperations, "copies": forgedCopies, "times": forgedTimes, "evidence": forgedEvidence,
	} {
		for _, c := range cases {
			t.Run(group+"/"+c.name, func(t *testing.T) {
				f := forge()
				c.breaks(f)
				findings := Check(&f.Run).Findings
				if c.want == "" && len(findings) == 0 {
					return
				}
				invariant, text, _ := strings.Cut(c.want, " ")
				if len(findings) != 1 || findings[0].Invariant != invariant || !strings.Contains(findings[0].Text, text) {
					t.Errorf("findings %v, want one of %q", findings, c.want)
				}
			})
		}
	}
}

// FuzzCheck checks that any evidence is judged without a crash.
func FuzzCheck(f *testing.F) {
	for _, c := range slices.Concat(rightRuns, forgedWriters, forgedTerms, forgedRecords, forgedOperations, forgedCopies, forgedTimes, forgedEvidence) {
		run := forge()
		c.breaks(run)
		var text bytes.Buffer
		if err := run.Encode(&text); err != nil {
			f.Fatal(err)
		}
		f.Add(text.Bytes())
	}
	f.Fuzz(func(_ *testing.T, text []byte) {
		if run, err := evidence.Decode(bytes.NewReader(text)); err == nil {
			Check(run)
		}
	})
}

// rightRuns break nothing.
var rightRuns = []forged{
	{"nothing more", func(*forgery) {}, ""},
	{"a failover", func(f *forgery) {
		f.fail()
		f.succeed()
		f.asks(evidence.OK, f.memento("x", "b", 9, "two"), "x=two")
		f.asks(evidence.OK, f.del("mementos/x"), "x=")
	}, ""},
	{"a handover", func(f *forgery) {
		f.put("handover", `{"from":"a","to":"b"}`, leaseA)
		f.put("term", `{"term":9,"key":"/p/election/b","node":"b"}`, 0)
		f.with().del("election/a")
		f.with().del("handover")
		f.with().record("a", leaseA, "HOT_STANDBY", "auto", 0)
		f.put("history/9", `{"node":"b"}`, 0)
		f.with().record("b", leaseB, "MASTER", "auto", 9)
		f.put("election/a", "a", leaseA)
	}, ""},
	{"a cold standby that leads", func(f *forgery) {
		f.record("b", leaseB, "STANDBY", "standby", 0)
		f.fail()
		f.put("term", `{"term":9,"key":"/p/election/b","node":"b"}`, 0)
		f.record("b", leaseB, "INITIALIZING", "standby", 0)
		f.record("b", leaseB, "MASTER", "standby", 9)
	}, ""},
	{"a master that becomes a backup", func(f *forgery) {
		f.record("a", leaseA, "MASTER", "hot_backup", 3) // it says so while it steps down
		f.del("election/a")
		f.with().record("a", leaseA, "HOT_BACKUP", "hot_backup", 0)
		f.succeed()
	}, ""},
	{"a standby that becomes a backup, and is given a term on its way out", func(f *forgery) {
		f.record("b", leaseB, "HOT_STANDBY", "hot_backup", 0)
		f.fail()
		f.put("term", `{"term":9,"key":"/p/election/b","node":"b"}`, 0)
		f.del("election/b")
		f.with().record("b", leaseB, "HOT_STANDBY", "hot_backup", 0)
		f.record("b", leaseB, "HOT_BACKUP", "hot_backup", 0)
	}, ""},
	{"a node that starts again", func(f *forgery) {
		f.fail()
		f.record("a", 0xd, "INITIALIZING", "auto", 0)
		f.record("a", 0xd, "HOT_STANDBY", "auto", 0)
		f.put("election/d", "a", 0xd)
		f.succeed()
	}, ""},
	{"a disabled node", func(f *forgery) {
		f.exclusive()
		f.asks(evidence.OK, f.memento("x", "s", f.stands["guard"].Created, "two"), "x=two")
		f.Moves = []evidence.Move{{Node: "s", Mode: "disabled", To: "MASTER", Term: f.stands["guard"].Created}}
		f.Acts = []evidence.Act{{Node: "s", Term: f.stands["guard"].Created, To: 5 * second}}
		f.Leases = []evidence.Lease{{Node: "s", ID: 0xc}}
	}, ""},
	{"a batch", func(f *forgery) {
		f.memento("x", "a", 3, "two")
		f.with().memento("y", "a", 3, "three")
		f.asks(evidence.OK, f.Head, "x=two", "y=three", "z=")
	}, ""},
	{"unknown writes that came late, and never", func(f *forgery) {
		f.asks(evidence.Unknown, 0, "x=late")
		f.asks(evidence.Unknown, 0, "x=never")
		f.asks(evidence.OK, f.memento("x", "a", 3, "two"), "x=two")
		f.reads(true, f.Head, "two", f.Head)
		late := f.memento("x", "a", 3, "late")
		f.reads(true, late, "late", late)
	}, ""},
	{"an unknown deletion that came", func(f *forgery) {
		f.asks(evidence.Unknown, 0, "x=")
		f.reads(true, f.del("mementos/x"), "", 0)
	}, ""},
	{"an unknown deletion that its condition has refused", func(f *forgery) {
		six := int64(6)
		f.asks(evidence.Unknown, 0, "x=").Changes[0].If = &six
		f.writes("two", f.memento("x", "a", 3, "two"))
		f.asks(evidence.OK, f.del("mementos/x"), "x=")
		f.reads(true, f.Head, "", 0)
	}, ""},
	{"a deletion of what an unknown one has deleted", func(f *forgery) {
		f.asks(evidence.Unknown, 0, "x=")
		f.reads(true, f.del("mementos/x"), "", 0)
		f.asks(evidence.OK, f.memento("y", "a", 3, "two"), "x=")
	}, ""},
	{"a deletion whose answer was lost", func(f *forgery) {
		f.del("mementos/x")
		f.asks(evidence.OK, f.memento("y", "a", 3, "two"), "x=")
	}, ""},
	{"keys edited by hand", func(f *forgery) {
		f.put("term", "garbage", 0)
		f.byHand()
		f.put("nodes/b", `{"id":"a","state":"MASTER","term":3}`, 0)
		f.byHand()
		f.record("b", leaseB, "HOT_STANDBY", "auto", 0)
		f.succeed() // before a has seen what was done to it
		f.fail()
	}, ""},
	{"a run that was brought to rest", func(f *forgery) { f.rest() }, ""},
	{"a run at rest, and a write that comes late", func(f *forgery) {
		f.rest()
		f.asks(evidence.Unknown, 0, "x=late")
		f.memento("x", "a", 3, "late")
	}, ""},
	{"a run at rest, and what a cold standby held when it was hot", func(f *forgery) {
		f.record("b", leaseB, "STANDBY", "standby", 0)
		f.rest()
		f.Copies = nil
		f.copyOf(5, 1)
	}, ""},
}

// rest brings a run to rest.
func (f *forgery) rest() {
	f.Alive, f.Enough = []string{"a", "b"}, 1
	f.Faults = []evidence.Fault{{What: "kill", Target: "b"}}
	one := evidence.Memento{Name: "x", Payload: "one", Modified: 6}
	f.Copies = []evidence.Copy{{Node: "b", Revision: f.Head, Count: 1, Digest: evidence.Digest([]evidence.Memento{one})}}
}

var forgedWriters = []forged{
	{"a write while nobody leads", func(f *forgery) {
		f.fail()
		f.memento("y", "a", 3, "two")
	}, "I-1 while nobody holds"},
	{"a deletion while nobody leads", func(f *forgery) {
		f.fail()
		f.asks(evidence.OK, f.del("mementos/x"), "x=")
	}, "I-1 is deleted while nobody holds"},
	{"a write under a candidacy that came after the term", func(f *forgery) {
		f.del("election/a")
		f.put("election/a", "a", leaseA)
		f.memento("y", "a", 3, "two")
	}, "I-1 while nobody holds"},
	{"a write of somebody else", func(f *forgery) { f.memento("y", "b", 3, "two") }, "I-1 by b in term 3, holder is a"},
	{"a write of a term to come", func(f *forgery) { f.memento("y", "a", 4, "two") }, "I-1 by a in term 4"},
	{"a write of a term that is over", func(f *forgery) {
		f.fail()
		f.succeed()
		f.memento("y", "a", 3, "two")
	}, "I-4 by a in term 3"},
	{"a write of nobody", func(f *forgery) { f.put("mementos/y", "garbage", 0) }, "I-1 is no memento"},
	{"a write without an operation", func(f *forgery) { f.put("mementos/y", "memento/1 node=a term=3\n", 0) }, "I-1 does not say who"},
	{"a history of somebody else", func(f *forgery) { f.put("history/3", `{"node":"b"}`, 0) }, "I-1 history/3 is written by b"},
	{"a history that is none", func(f *forgery) { f.put("history/3", "{", 0) }, "I-1 unexpected end"},
	{"an offer of somebody else", func(f *forgery) { f.put("handover", `{"from":"b"}`, 0) }, "I-1 handover is written by b"},
	{"a write after the guard is gone", func(f *forgery) {
		f.exclusive()
		term := f.del("guard") - 1
		f.memento("y", "s", max(term, 3), "two")
	}, "I-1 while nobody holds"},
	{"a record beside a guard", func(f *forgery) {
		f.exclusive()
		f.record("b", leaseB, "HOT_STANDBY", "auto", 0)
	}, "I-1 disabled node s has the plane"},
	{"a write after the term record was overwritten by hand", func(f *forgery) {
		f.put("term", "garbage", 0)
		f.byHand()
		f.memento("y", "a", 3, "two")
	}, "I-1 while nobody holds"},
}

var forgedTerms = []forged{
	{"a number that is not above the last", func(f *forgery) {
		f.fail()
		f.put("term", `{"term":3,"key":"/p/election/b","node":"b"}`, 0)
	}, "I-3 term 3 follows 3"},
	{"a number below the candidate's", func(f *forgery) {
		f.fail()
		f.put("term", `{"term":4,"key":"/p/election/b","node":"b"}`, 0)
	}, "I-3 less than the revision 8"},
	{"a record that is none", func(f *forgery) {
		f.fail()
		f.put("term", `{"term":9,"key":"/p/election/b","node":"b"`, 0)
	}, "I-3 is none"},
	{"a record that is deleted", func(f *forgery) { f.del("term") }, "I-3 deleted"},
	{"a key that does not exist", func(f *forgery) {
		f.fail()
		f.put("term", `{"term":9,"key":"/p/election/8","node":"b"}`, 0)
	}, "I-2 which is no candidate"},
	{"a key of somebody else", func(f *forgery) {
		f.fail()
		f.put("term", `{"term":9,"key":"/p/election/b","node":"a"}`, 0)
	}, "I-2 the candidate is b"},
	{"a key that has led", func(f *forgery) {
		f.put("term", "", 0)
		f.byHand()
		f.put("term", `{"term":9,"key":"/p/election/a","node":"a"}`, 0)
	}, "I-2 has led before"},
	{
		"a beginning before the end", func(f *forgery) { f.put("term", `{"term":9,"key":"/p/election/b","node":"b"}`, 0) },
		"I-2 term 9 begins while term 3 of a lasts",
	},
	{"a node that says it leads and was given nothing", func(f *forgery) {
		f.Moves = []evidence.Move{{Node: "b", Mode: "auto", To: "MASTER", Term: 3}}
	}, "I-2 says it is MASTER of term 3"},
	{"a node that acts and was given nothing", func(f *forgery) {
		f.Acts = []evidence.Act{{Node: "a", Term: 4}}
	}, "I-2 acts in term 4"},
	{"a node that leads as if it had the plane to itself", func(f *forgery) {
		f.Moves = []evidence.Move{{Node: "a", Mode: "disabled", To: "MASTER", Term: 3}}
	}, "I-5 in mode disabled"},
	{"a node that leads as a backup", func(f *forgery) {
		f.Moves = []evidence.Move{{Node: "a", Mode: "hot_backup", To: "MASTER", Term: 3}}
	}, "I-5 in mode hot_backup"},
}

var forgedRecords = []forged{
	{"no lease", func(f *forgery) { f.record("c", 0, "HOT_STANDBY", "auto", 0) }, "I-24 has no lease"},
	{"a candidate on another lease", func(f *forgery) { f.put("election/c", "b", 0xc) }, "I-24 hangs on lease c, its record on b"},
	{"a candidate that comes after its node has left", func(f *forgery) {
		f.del("election/b")
		f.del("nodes/b")
		f.put("election/b", "b", leaseB)
	}, ""},
	{"a candidate of a node that left with another lease", func(f *forgery) {
		f.del("election/b")
		f.del("nodes/b")
		f.put("election/c", "b", 0xc)
	}, "I-24 hangs on lease c"},
	{"a record that is none", func(f *forgery) { f.put("nodes/b", "{", leaseB) }, "I-26 record of b"},
	{"a record of another node", func(f *forgery) { f.put("nodes/c", `{"id":"b","state":"HOT_STANDBY"}`, 0xc) }, "I-26 record of c"},
	{"a master without a term", func(f *forgery) {
		f.record("a", leaseA, "HOT_STANDBY", "auto", 0)
		f.record("b", leaseB, "MASTER", "auto", 9)
	}, "I-26 b says it is MASTER of term 9"},
	{"a master of another term", func(f *forgery) { f.record("a", leaseA, "MASTER", "auto", 2) }, "I-26 MASTER of term 2"},
	{"a master whose key is gone", func(f *forgery) {
		f.del("election/a")
		f.record("a", leaseA, "MASTER", "auto", 3)
	}, "I-26 held: false"},
	{"two masters", func(f *forgery) {
		f.del("election/a") // and its record is unchanged
		f.succeed()
	}, "I-26 [a b] all say"},
	{"a backup that stands", func(f *forgery) {
		f.record("c", 0xc, "HOT_BACKUP", "hot_backup", 0)
		f.put("election/c", "c", 0xc)
	}, "I-5 c stands for election while it is HOT_BACKUP"},
	{"a backup that has not left the election", func(f *forgery) { f.record("b", leaseB, "HOT_BACKUP", "hot_backup", 0) }, "I-5 b stands"},
	{"a failed node that stands", func(f *forgery) { f.record("b", leaseB, "FAILED", "auto", 0) }, "I-5 while it is FAILED"},
	{"a disabled node that stands", func(f *forgery) { f.record("b", leaseB, "FAILED", "disabled", 0) }, "I-5 while it is FAILED"},
	{"an initializing node that stands", func(f *forgery) { f.record("b", leaseB, "INITIALIZING", "auto", 0) }, "I-5 while it is INITIALIZING"},
	{"a backup that becomes master", func(f *forgery) {
		f.fail()
		f.put("term", `{"term":9,"key":"/p/election/b","node":"b"}`, 0)
		f.record("b", leaseB, "MASTER", "hot_backup", 9)
	}, "I-5 b becomes MASTER in mode hot_backup"},
}
