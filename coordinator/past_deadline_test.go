package coordinator_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/modes"
)

// showsMaster lists where a node shows itself as the master.
func showsMaster(t *testing.T, n *running) (at []string) {
	t.Helper()
	st := n.Status()
	if st.State == modes.StateMaster || st.Acting || st.Record.Term != 0 {
		at = append(at, "status")
	}
	if st.LeaseRemaining < 0 {
		t.Errorf("its lease can be relied on for %s", st.LeaseRemaining)
	}
	cached := n.CachedPlane()
	if m, ok := cached.Master(); ok && m.ID == st.ID {
		at = append(at, "cached plane")
	}
	plane, _ := n.Plane(t.Context())
	if m, ok := plane.Master(); ok && m.ID == st.ID {
		at = append(at, "plane")
	}
	if m, ok := plane.Member(st.ID); ok && m.State == modes.StateMaster {
		at = append(at, "its record")
	}
	if r, err := n.Read(); err == nil && (r.State == modes.StateMaster || r.Staleness == 0) {
		at = append(at, "a read")
	}
	return at
}

// Promise: a node shows nobody that it is master past its deadline, however long it takes
// to see that itself: asked at any moment it is what its lease makes of it.
func TestNode_ShowsNoMasterPastItsDeadline(t *testing.T) {
	for name, cold := range map[string]bool{"hot": false, "cold": true} {
		for _, cut := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				inLab(t, func(t *testing.T, l *lab) {
					hang, read := hangsAt("priority changed")
					a := l.start("a", modes.Auto, hang, func(c *coordinator.Config) { c.ColdStandby = cold })
					settle()
					l.start("b", modes.HotBackup)
					settle()
					put(t, a, "entity/x", "1")
					var hung sync.WaitGroup
					hung.Go(func() { _, _ = a.SetPriority(t.Context(), 3) })
					defer func() { read(); hung.Wait(); l.server.Heal("a"); settle() }()
					settle()
					if got := showsMaster(t, a); len(got) != 5 {
						t.Fatalf("a master shows it by %v", got)
					}
					if cut {
						l.server.Cut("a")
					}
					late := 0
					for range 400 {
						pass(100 * time.Millisecond)
						if a.Status().LeaseRemaining > 0 {
							continue
						}
						late++
						if got := showsMaster(t, a); len(got) > 0 {
							t.Fatalf("past its deadline it is shown as master by %v", got)
						}
						want := modes.StateHotStandby
						if cold {
							want = modes.StateStandby
						}
						if st := a.Status(); st.State != want || st.InElection {
							t.Fatalf("it is %s, in the election: %t; want %s", st.State, st.InElection, want)
						}
						if _, err := a.Read(); errors.Is(err, coordinator.ErrNotReadable) != cold {
							t.Fatalf("read: %v", err)
						}
					}
					if late == 0 {
						t.Fatal("its lease never ran out")
					}
				})
			})
		}
	}
}
