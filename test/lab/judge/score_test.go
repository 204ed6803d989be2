package judge_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
	"github.com/coordinator-ha/coordinator/test/lab/judge"
)

// Promise: a score is read back from the line it was printed as, and two scores can be
// added.
func TestScore_AddsUp(t *testing.T) {
	run := &evidence.Run{Layer: "process", TTL: 2 * time.Second, Ops: []evidence.Op{{Answered: time.Minute}}}
	one := judge.ScoreOf(run, judge.Verdict{
		Findings:   []judge.Finding{{Invariant: "I-1"}, {Invariant: "I-1"}, {Invariant: judge.Invalid}},
		Operations: map[evidence.Outcome]int{evidence.OK: 5, evidence.Unknown: 2},
		Histories:  3, Linear: 6, Copies: 4, Reads: 5, Overlap: time.Microsecond,
		Faults: map[string]int{"kill-master": 2}, Terms: make([]judge.Term, 3),
		Failovers: []judge.Failover{{Fault: "kill-master", Took: time.Second}},
	})
	read, found := judge.ParseScore("    some_test.go:1: " + one.String())
	if !found || !reflect.DeepEqual(read, one) {
		t.Fatalf("%+v is read as %+v", one, read)
	}
	sum := judge.Score{}
	sum.Add(one)
	sum.Add(read)
	want := judge.Score{
		Seeds: 2, Harmed: 2 * time.Minute, Faults: map[string]int{"kill-master": 4}, Operations: 14, Histories: 6, Linear: 12,
		Copies: 18, Terms: 6, Overlap: 2 * time.Microsecond, Failovers: map[string][]int64{"kill-master, ttl 2s": {1000, 1000}},
		Broken: map[string]int{"I-1": 4, judge.Invalid: 2},
	}
	if !reflect.DeepEqual(sum, want) {
		t.Errorf("sum %+v, want %+v", sum, want)
	}
}

func TestParseScore_TakesNothingElse(t *testing.T) {
	for _, line := range []string{"", "verdict", "verdict {", "the verdict is clear"} {
		if s, found := judge.ParseScore(line); found {
			t.Errorf("%q is read as %+v", line, s)
		}
	}
}
