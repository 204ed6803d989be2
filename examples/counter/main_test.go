package main

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/coordtest"
	"github.com/coordinator-ha/coordinator/coordinator/coordtest/memstore"
	"github.com/coordinator-ha/coordinator/modes"
)

// The standby continues where the killed master was, and no step is counted twice.
func TestLead_ContinuesAfterAFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plane := coordtest.New(t)
		a := plane.Start(coordinator.Config{ID: "a", Lead: lead})
		a.AwaitState(modes.StateMaster, time.Second)
		b := plane.Start(coordinator.Config{ID: "b", Lead: lead})
		b.AwaitState(modes.StateHotStandby, time.Second)

		a.LoseAnswer(memstore.CallCommit) // one step is stored, and a is not told
		plane.Pass(time.Minute)
		a.Kill()
		b.AwaitState(modes.StateMaster, plane.TTL()+time.Second)
		plane.Pass(time.Minute)

		steps, err := counts.Get(b.View(), "steps")
		if err != nil || steps.Value < 115 {
			t.Errorf("%d steps in two minutes: %v", steps.Value, err)
		}
		stored, err := b.View().Get("count/steps")
		if err != nil || int(stored.Version) != steps.Value {
			t.Errorf("step %d was stored as number %d: %v", steps.Value, stored.Version, err)
		}
	})
}
