package coordinator_test

import (
	"errors"
	"testing"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// Promise: a node that was started to delete all state deletes nothing that a living
// plane has been told is stored, however mastership comes to it.
func TestCleanStart_DeletesNothingOfALivingPlane(t *testing.T) {
	clean := cleanStart
	comes := map[string]func(t *testing.T, l *lab, y *running){
		"by a handover": func(t *testing.T, _ *lab, y *running) { _, _ = handover(t, y, "x") },
		"by a stop":     func(_ *testing.T, _ *lab, y *running) { _ = y.Stop() },
		"by a death":    func(_ *testing.T, l *lab, _ *running) { l.kill("y"); pass(3 * ttl) },
	}
	for name, come := range comes {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				first := l.start("z", modes.HotBackup)
				settle()
				l.pause("z", 0)
				if err := first.Stop(); err != nil {
					t.Fatal(err)
				}
				x := l.start("x", modes.Auto, clean) // alone, and held up by the pause
				settle()
				y := l.start("y", modes.Auto)
				settle()
				if _, err := changeMode(t, y, modes.Master); err != nil {
					t.Fatal(err)
				}
				l.resume("y")
				put(t, y, "entity/x", "acknowledged")
				come(t, l, y)
				settle()
				if err := x.Wait(); !errors.Is(err, driver.ErrRefused) {
					t.Errorf("x ends with %v, want that it is refused", err)
				}
				found, _, err := l.server.Node("observer").Past(t.Context(), l.server.Revision(), "entity/x", 1)
				if err != nil || len(found) != 1 {
					t.Errorf("an acknowledged write was deleted: %v, %v", found, err)
				}
			})
		})
	}
}

// An order to lead that ends in state which cannot be used is refused, and the mode
// is as it was.
func TestChangeMode_MasterWhoseStateCannotBeUsedIsRefused(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		n := l.start("n", modes.HotBackup, func(c *coordinator.Config) { c.Rules.FailFast = []string{"*"} })
		settle()
		l.pause("n", 0)
		if _, err := changeMode(t, n, modes.Standby); err != nil {
			t.Fatal(err)
		}
		l.server.Put("entity/bad", rebind.Content{}, "cannot be read")
		_, err := changeMode(t, n, modes.Master)
		if !errors.Is(err, driver.ErrRefused) {
			t.Errorf("mode master = %v, want ErrRefused", err)
		}
		if s := n.Status(); s.Mode != modes.Standby || s.State != modes.StateFailed || s.LastError == "" {
			t.Errorf("mode %s, state %s, %q: want the mode as it was and the reason told", s.Mode, s.State, s.LastError)
		}
	})
}

// A disabled node that stops is told of as that: it has not failed.
func TestDisabled_CleanStopIsNoFailure(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		n := l.start("n", modes.Disabled)
		settle()
		if err := n.Stop(); err != nil {
			t.Fatal(err)
		}
		for _, tr := range n.Transitions() {
			if tr.To == modes.StateFailed {
				t.Errorf("told %+v", tr)
			}
		}
		p, err := l.server.Node("observer").Plane(t.Context())
		if err != nil || p.Exclusive != nil {
			t.Errorf("plane = %+v, %v, want no guard left", p, err)
		}
	})
}

// What a dead process of the same id has left keeps its successor waiting, and no
// longer than its lease lives.
func TestDisabled_WaitsForItsOwnGhost(t *testing.T) {
	for _, mode := range []modes.Mode{modes.Disabled, modes.Auto} {
		inLab(t, func(t *testing.T, l *lab) {
			l.start("n", modes.Disabled)
			settle()
			l.server.Cut("n") // its process is as good as dead
			again := l.startAs("n", "n2", mode)
			settle()
			if s := again.Status().State; s != modes.StateInitializing {
				t.Fatalf("%s: it is %s while the guard stands", mode, s)
			}
			pass(2 * ttl)
			if s := again.Status().State; s != modes.StateMaster {
				t.Errorf("%s: it is %s after the guard has lapsed", mode, s)
			}
		})
	}
}
