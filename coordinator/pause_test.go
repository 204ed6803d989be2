package coordinator_test

import (
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/modes"
)

// The better candidate takes the term when a pause is over, however long that was
// and whoever came first in the queue.
func TestPause_TheBestCandidateLeadsAfterIt(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a := l.start("a", modes.Auto)
		settle()
		l.start("d", modes.Standby) // first in the queue
		settle()
		b := l.start("b", modes.HotStandby, func(c *coordinator.Config) { c.Priority = 1 })
		settle()
		if _, err := a.Pause(t.Context(), time.Minute); err != nil {
			t.Fatal(err)
		}
		l.server.Cut("a")
		pass(30 * time.Second)
		l.want(map[string]modes.State{"a": modes.StateHotStandby, "b": modes.StateHotStandby, "d": modes.StateStandby})
		pass(31 * time.Second)
		if m := l.master(); m != b {
			t.Errorf("%s leads after the pause, want b", m.Status().ID)
		}
		l.server.Heal("a")
		settle()
	})
}
