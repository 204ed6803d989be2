package coordinator_test

import (
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
)

// A node that is elected and does not get the state keeps the plane without a master
// for ten seconds and not for ever: it gives the term up and is chosen last.
func TestPromotion_StateThatDoesNotArriveEndsTheTerm(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a := l.start("a", modes.Auto)
		settle()
		b := l.start("b", modes.HotStandby, func(c *coordinator.Config) { c.Priority = 1 })
		settle()
		l.start("c", modes.HotStandby)
		settle()
		put(t, a, "entity/x", "1")
		settle()
		l.server.Stall("b", true)
		l.kill("a")
		pass(5 * time.Second)
		if p := l.nodes["c"].CachedPlane(); p.Holder.Node != "b" || b.Status().State == modes.StateMaster {
			t.Fatalf("term of %s, b is %s: want b elected and waiting for its state", p.Holder.Node, b.Status().State)
		}
		pass(10 * time.Second)
		l.want(map[string]modes.State{"a": modes.StateHotStandby, "b": modes.StateHotStandby, "c": modes.StateMaster})
		h, err := l.nodes["c"].History(t.Context())
		if err != nil || len(h) != 2 || h[0].Node != "c" || h[0].Reason != driver.ReasonFailover {
			t.Errorf("history = %+v, %v", h, err)
		}
		l.server.Stall("b", false)
		settle()
	})
}
