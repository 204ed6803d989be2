// Package judge replays the evidence of a run and says which invariant was broken, and
// where. Everybody has to believe it, so it is kept simple: it knows the documented
// formats, docs/ARCHITECTURE.md "What is stored", and shares no code with what it judges.
// Each group of invariants has a file.
//
// The store's own history is the truth. The judge walks through it revision by revision: it
// judges each change by the state before it, applies the change, and judges the new state.
// It then compares what clients were answered, what nodes said about themselves, and what
// their copies contained.
package judge

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// Invalid is the invariant of a finding about the evidence itself: the run proves nothing.
const Invalid = "invalid"

// Finding is one invariant that was broken once.
type Finding struct {
	Invariant string        // as the plan of the laboratory numbers them, or Invalid
	Revision  int64         // where; 0 if there is no revision
	At        time.Duration // when; 0 if there is only a revision
	Text      string
}

// String formats the finding in one line.
func (f Finding) String() string {
	switch {
	case f.Revision != 0:
		return fmt.Sprintf("%s at revision %d: %s", f.Invariant, f.Revision, f.Text)
	case f.At != 0:
		return fmt.Sprintf("%s at %s: %s", f.Invariant, f.At, f.Text)
	default:
		return fmt.Sprintf("%s: %s", f.Invariant, f.Text)
	}
}

// Verdict is the result for a run: what was broken, and how much was checked.
type Verdict struct {
	Findings []Finding

	Revisions  int                      // at which something happened to the plane
	Operations map[evidence.Outcome]int // of clients
	Histories  int                      // of one memento each, found linearizable or not
	Linear     int                      // operations in those histories
	Copies     int                      // of mirrors, compared with the store
	Reads      int                      // of clients, compared with the store
	Overlap    time.Duration            // of acting windows, without those in which a node stood still
	Faults     map[string]int           // by kind
	Terms      []Term
	Failovers  []Failover
	Written    map[string]int    // how often each memento was put
	Latest     map[string]string // the payloads of the mementos at the end
}

// Term is one term that was given.
type Term struct {
	Number   int64
	Node     string
	Revision int64
}

// Failover is how long it took until there was a master again.
type Failover struct {
	Fault string // its kind
	Took  time.Duration
}

// Check judges a run.
func Check(run *evidence.Run) Verdict {
	t := &trial{run: run, now: newPlane(run.Root), led: make(map[candidacy]bool), given: make(map[lead]int64), exclusive: make(map[lead]bool), history: readHistory(run), verdict: Verdict{
		Operations: make(map[evidence.Outcome]int), Faults: make(map[string]int),
		Written: make(map[string]int), Latest: make(map[string]string),
	}}
	t.assumptions()
	t.replay()
	t.operations()
	t.linearizability()
	t.copies()
	t.reads()
	t.moves()
	t.deadlines()
	t.overlaps()
	t.failovers()
	t.closing()
	return t.verdict
}

// trial is a run that is being judged.
type trial struct {
	run     *evidence.Run
	verdict Verdict

	now       *plane             // the state at the current revision
	highest   int64              // the highest term so far
	led       map[candidacy]bool // the candidacies that have led
	given     map[lead]int64     // all leaderships so far, with their leases
	exclusive map[lead]bool      // those of disabled nodes

	history history
}

// broken records a finding at a revision.
func (t *trial) broken(invariant string, revision int64, format string, args ...any) {
	t.verdict.Findings = append(t.verdict.Findings, Finding{Invariant: invariant, Revision: revision, Text: fmt.Sprintf(format, args...)})
}

// brokenAt records a finding at a time.
func (t *trial) brokenAt(invariant string, at time.Duration, format string, args ...any) {
	t.verdict.Findings = append(t.verdict.Findings, Finding{Invariant: invariant, At: at, Text: fmt.Sprintf(format, args...)})
}

// replay walks through the store's history.
func (t *trial) replay() {
	for events := range revisions(t.run.Events) {
		t.verdict.Revisions++
		revision := events[0].Revision
		if slices.Contains(t.run.Hands, revision) {
			t.now.byHand(events)
			continue
		}
		t.oneWriter(events)
		t.termBegins(events)
		t.recordsTold(events)
		t.now.apply(events)
		t.oneHolder(revision)
		t.candidaciesAllowed(events)
		t.oneMaster(revision)
	}
	for name, m := range t.now.mementos {
		t.verdict.Latest[name] = m.payload
	}
}

// revisions yields the events of one revision after the other.
func revisions(events []evidence.Event) func(yield func([]evidence.Event) bool) {
	return func(yield func([]evidence.Event) bool) {
		for begin := 0; begin < len(events); {
			end := begin + 1
			for end < len(events) && events[end].Revision == events[begin].Revision {
				end++
			}
			if !yield(events[begin:end]) {
				return
			}
			begin = end
		}
	}
}

// sorted returns its argument in the order of a number.
func sorted[T any, K cmp.Ordered](all []T, by func(*T) K) []T {
	return slices.SortedStableFunc(slices.Values(all), func(a, b T) int { return cmp.Compare(by(&a), by(&b)) })
}
