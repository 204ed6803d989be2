package main

import (
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/modes"
)

// What the service manager is told follows from the node's status and the time alone.
// This test is of package main because the protocol has no other way in.
func TestSupervisor_News(t *testing.T) {
	now := time.Now()
	st := coordinator.Status{Record: coordinator.Record{Plane: "p", State: modes.StateInitializing}}
	s := &supervisor{status: func() coordinator.Status { return st }, log: zap.NewNop(), begun: now, pat: 3 * time.Second}
	for _, step := range []struct {
		why    string
		change func()
		want   []string
	}{
		{"a node on its way is not said to have started", func() {}, []string{"STATUS=INITIALIZING in plane p", "WATCHDOG=1"}},
		{"what has not changed is not said again", func() { now = now.Add(time.Second) }, nil},
		{"its first state is its start", func() { st.State = modes.StateHotStandby }, []string{"READY=1", "STATUS=HOT_STANDBY in plane p"}},
		{"a node that lives pats the watchdog", func() { now = now.Add(2 * time.Second) }, []string{"WATCHDOG=1"}},
		{"a node that hangs does not", func() { now = now.Add(3 * time.Second); st.Turned = time.Minute }, nil},
		{"and does again when it has come round", func() { st.Turned = 0 }, []string{"WATCHDOG=1"}},
		{"a master tells its term", func() { st.State, st.Term = modes.StateMaster, 7 }, []string{"STATUS=MASTER in plane p, term 7"}},
		{
			"a failed one its error, in one line", func() { st.State, st.LastError = modes.StateFailed, "a\nb" },
			[]string{"STATUS=FAILED in plane p: a; b"},
		},
	} {
		step.change()
		if got := s.news(now); !slices.Equal(got, step.want) {
			t.Errorf("%s: told %q, want %q", step.why, got, step.want)
		}
	}
	st.State, st.LastError = modes.StateInitializing, ""
	slow := &supervisor{status: func() coordinator.Status { return st }, log: zap.NewNop(), begun: now}
	slow.news(now)
	if got := slow.news(now.Add(settleWithin + time.Second)); !slices.Equal(got, []string{"READY=1"}) {
		t.Errorf("a node that loads for long is told as %q, want as started", got)
	}
}
