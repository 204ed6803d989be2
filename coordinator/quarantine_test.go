package coordinator_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// Promise: to ask a node for its status costs the same, however many mementos are in
// quarantine and however often its state has changed.
func TestNode_StatusCostsTheSameWhateverThereIsToTell(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		const many = 100_000
		n := l.start("a", modes.Auto)
		settle()
		few := testing.AllocsPerRun(10, func() { _ = n.Status() })
		for i := range many {
			l.server.Put(rebind.Name(fmt.Sprintf("bad/%06d", i)), rebind.Content{}, "not readable")
		}
		for range 3 { // more transitions
			for _, m := range []modes.Mode{modes.HotBackup, modes.Auto} {
				if _, err := n.ChangeMode(within(t, time.Minute), m); err != nil {
					t.Fatal(err)
				}
				settle()
			}
		}
		if s := n.Status(); s.Quarantined != many || len(s.Faults) != 100 || s.Faults[0].Name != "bad/000000" || len(s.Transitions) < 6 {
			t.Fatalf("%d in quarantine, %d named, %d transitions", s.Quarantined, len(s.Faults), len(s.Transitions))
		}
		var before, after runtime.MemStats
		const asked = 100
		runtime.ReadMemStats(&before)
		for range asked {
			_ = n.Status()
		}
		runtime.ReadMemStats(&after)
		if each := (after.TotalAlloc - before.TotalAlloc) / asked; each > 4<<10 {
			t.Errorf("a status allocates %d bytes", each)
		}
		if now := testing.AllocsPerRun(10, func() { _ = n.Status() }); now > few {
			t.Errorf("a status allocates %.0f times, and with nothing to tell %.0f times", now, few)
		}
	})
}
