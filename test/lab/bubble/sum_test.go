package bubble_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
	"github.com/coordinator-ha/coordinator/test/lab/judge"
)

// sum adds up what was checked in many runs.
type sum struct {
	mu sync.Mutex // guards the fields below

	runs, terms, copies, reads, linear int
	operations                         map[evidence.Outcome]int
	faults                             map[string]int
	lived                              time.Duration // virtual time of the planes
	score                              judge.Score   // for the soak
}

func newSum() *sum {
	return &sum{operations: make(map[evidence.Outcome]int), faults: make(map[string]int)}
}

func (s *sum) add(run *evidence.Run, v *judge.Verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs++
	s.terms += len(v.Terms)
	s.copies += v.Copies
	s.reads += v.Reads
	s.linear += v.Linear
	for outcome, n := range v.Operations {
		s.operations[outcome] += n
	}
	for kind, n := range v.Faults {
		s.faults[kind] += n
	}
	var last time.Duration
	for i := range run.Ops {
		last = max(last, run.Ops[i].Answered)
	}
	s.lived += last
	s.score.Layer = run.Layer
	s.score.Add(judge.ScoreOf(run, *v))
}

// String formats the sum.
func (s *sum) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := 0
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(s.faults)) {
		all += s.faults[kind]
		kinds = append(kinds, fmt.Sprintf("%d %s", s.faults[kind], kind))
	}
	return fmt.Sprintf("%d planes lived %s; %d faults of %d kinds: %s\n%d terms; operations: %d acknowledged, %d refused, %d unknown; "+
		"%d copies and %d reads compared with the store, %d operations found linearizable",
		s.runs, s.lived.Round(time.Second), all, len(kinds), strings.Join(kinds, ", "),
		s.terms, s.operations[evidence.OK], s.operations[evidence.Refused], s.operations[evidence.Unknown], s.copies, s.reads, s.linear)
}
