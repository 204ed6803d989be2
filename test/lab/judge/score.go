package judge

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// Score is the result of runs in numbers. Each layer's tests print one as a line, for one
// run or for several; the soak adds them up.
type Score struct {
	Layer      string
	Seeds      int           // runs
	Harmed     time.Duration // how long runs lasted, on their own clock
	Faults     map[string]int
	Stalls     int // of the machine
	Operations int // of clients, whatever their outcome
	Histories  int // of one memento each, judged
	Linear     int // operations in those
	Copies     int // compared with the store, and reads
	Terms      int
	Overlap    time.Duration // of acting windows
	// Failovers are the times without a master in milliseconds, by kind of fault and TTL.
	Failovers map[string][]int64
	// Broken counts the findings by invariant, including Invalid and complaints.
	Broken map[string]int
}

// ScoreOf counts a run and its verdict.
func ScoreOf(run *evidence.Run, v Verdict) Score {
	s := Score{
		Layer: run.Layer, Seeds: 1, Faults: maps.Clone(v.Faults), Histories: v.Histories, Linear: v.Linear,
		Copies: v.Copies + v.Reads, Terms: len(v.Terms), Overlap: v.Overlap,
		Failovers: make(map[string][]int64), Broken: make(map[string]int),
	}
	for _, n := range v.Operations {
		s.Operations += n
	}
	for _, op := range run.Ops {
		s.Harmed = max(s.Harmed, op.Answered)
	}
	for _, f := range run.Faults {
		if f.Target == evidence.Machine {
			s.Stalls++
			delete(s.Faults, f.What)
		}
	}
	for _, f := range v.Failovers {
		kind := fmt.Sprintf("%s, ttl %s", f.Fault, run.TTL)
		s.Failovers[kind] = append(s.Failovers[kind], f.Took.Milliseconds())
	}
	for _, f := range v.Findings {
		s.Broken[f.Invariant]++
	}
	return s
}

// Add adds another score to this one.
func (s *Score) Add(other Score) {
	s.Seeds += other.Seeds
	s.Harmed += other.Harmed
	s.Stalls += other.Stalls
	s.Operations += other.Operations
	s.Histories += other.Histories
	s.Linear += other.Linear
	s.Copies += other.Copies
	s.Terms += other.Terms
	s.Overlap += other.Overlap
	if s.Faults == nil {
		s.Faults, s.Broken, s.Failovers = make(map[string]int), make(map[string]int), make(map[string][]int64)
	}
	for what, n := range other.Faults {
		s.Faults[what] += n
	}
	for invariant, n := range other.Broken {
		s.Broken[invariant] += n
	}
	for fault, took := range other.Failovers {
		s.Failovers[fault] = slices.Concat(s.Failovers[fault], took)
	}
}

// scoreMark begins the line with a printed score.
const scoreMark = "verdict "

// String formats the line that [ParseScore] reads.
func (s Score) String() string {
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Sprint("no verdict: ", err)
	}
	return scoreMark + string(text)
}

// ParseScore finds a score in a line of a test's output.
func ParseScore(line string) (s Score, found bool) {
	_, text, found := strings.Cut(line, scoreMark)
	return s, found && json.Unmarshal([]byte(text), &s) == nil
}
