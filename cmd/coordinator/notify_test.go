package main

import (
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
)

// The notifications follow from the node's status and the time alone. This test is in
// package main because the protocol offers no other access.
func TestSupervisor_News(t *testing.T) {
	now := time.Now()
	st := coordinator.Status{Record: driver.Record{Plane: "p", State: modes.StateInitializing}}
	s := &notifier{status: func() coordinator.Status { return st }, log: zap.NewNop(), started: now, watchdogEvery: 3 * time.Second}
	for _, step := range []struct {
		why    string
		change func()
		want   []string
	}{
		{"a node that is initializing is not reported as started", func() {}, []string{"STATUS=INITIALIZING in plane p", "WATCHDOG=1"}},
		{"what has not changed is not sent again", func() { now = now.Add(time.Second) }, nil},
		{"the first state makes the node started", func() { st.State = modes.StateHotStandby }, []string{"READY=1", "STATUS=HOT_STANDBY in plane p"}},
		{"a live node resets the watchdog", func() { now = now.Add(2 * time.Second) }, []string{"WATCHDOG=1"}},
		{"a hanging node does not", func() { now = now.Add(3 * time.Second); st.LoopAge = time.Minute }, nil},
		{"and does so again once it has recovered", func() { st.LoopAge = 0 }, []string{"WATCHDOG=1"}},
		{"a master reports its term", func() { st.State, st.Term = modes.StateMaster, 7 }, []string{"STATUS=MASTER in plane p, term 7"}},
		{
			"a failed node reports its error, in one line", func() { st.State, st.LastError = modes.StateFailed, "a\nb" },
			[]string{"STATUS=FAILED in plane p: a; b"},
		},
	} {
		step.change()
		if got := s.changes(now); !slices.Equal(got, step.want) {
			t.Errorf("%s: sent %q, want %q", step.why, got, step.want)
		}
	}
	st.State, st.LastError = modes.StateInitializing, ""
	slow := &notifier{status: func() coordinator.Status { return st }, log: zap.NewNop(), started: now}
	slow.changes(now)
	if got := slow.changes(now.Add(readyWithin + time.Second)); !slices.Equal(got, []string{"READY=1"}) {
		t.Errorf("a node that loads for long is reported as %q, want started", got)
	}
}
