package coordinator_test

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/coordtest/memstore"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

func belongs(planeID string) func(*coordinator.Config) {
	return func(c *coordinator.Config) { c.PlaneID = planeID }
}

func requireState(c *coordinator.Config) { c.RequireState = true }

func cleanStart(c *coordinator.Config) { c.CleanStart = true }

func TestPlaneID_OtherOrNewerIsRefusedWithNothingWritten(t *testing.T) {
	cases := map[string]struct {
		id     string
		format int
	}{"another id": {"other", driver.Format}, "a newer format": {"mine", driver.Format + 1}}
	for name, c := range cases {
		for _, mode := range modes.Modes() {
			inLab(t, func(t *testing.T, l *lab) {
				l.server.SetMeta(c.id, c.format)
				before := l.server.Revision()
				err := l.start("a", mode, belongs("mine")).Wait()
				if !errors.Is(err, driver.ErrForeignPlane) {
					t.Errorf("%s, mode %s: %v, want ErrForeignPlane", name, mode, err)
				}
				if now := l.server.Revision(); now != before {
					t.Errorf("%s, mode %s: revision %d became %d", name, mode, before, now)
				}
			})
		}
	}
}

func TestPlaneID_IsTheOneAskedFor(t *testing.T) {
	for _, mode := range []modes.Mode{modes.Auto, modes.Disabled} {
		inLab(t, func(t *testing.T, l *lab) {
			a := l.start("a", mode, belongs("mine"))
			settle()
			if p, err := a.Plane(t.Context()); err != nil || p.ID != "mine" {
				t.Errorf("mode %s: plane = %+v, %v", mode, p, err)
			}
		})
	}
}

func TestPlaneID_ThatChangesAtRunTimeFailsEveryNode(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		fullPlane(l)
		l.server.SetMeta("other", driver.Format)
		settle()
		for id, n := range l.nodes {
			if s := n.Status(); s.State != modes.StateFailed || !contains(s.LastError, "other") {
				t.Errorf("%s is %s because of %q", id, s.State, s.LastError)
			}
		}
		pass(3 * ttl)
		p, err := l.nodes["a"].Plane(t.Context())
		if err != nil || p.Held {
			t.Errorf("plane = %+v, %v, want nobody to hold the term", p, err)
		}
	})
}

// All of them stood for election before the plane had an id.
func TestPlaneID_ThatIsDeletedIsWrittenBackByTheNextTerm(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		for _, id := range []string{"a", "b", "c"} {
			l.start(id, modes.Auto)
		}
		settle()
		first := l.master()
		id := first.CachedPlane().ID
		l.server.DeleteMeta()
		settle()
		if s := first.Status().State; s != modes.StateMaster {
			t.Errorf("master is %s without meta", s)
		}
		l.kill(first.Status().ID)
		pass(ttl)
		l.server.Heal(first.Status().ID)
		pass(2 * ttl)
		if p := l.master().CachedPlane(); p.ID != id || id == "" {
			t.Errorf("id = %q, was %q", p.ID, id)
		}
	})
}

func TestRequireState_WantsState(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		before := l.server.Revision()
		if err := l.start("a", modes.Auto, requireState).Wait(); !errors.Is(err, driver.ErrNoState) {
			t.Errorf("rebind to nothing = %v", err)
		}
		if now := l.server.Revision(); now != before {
			t.Errorf("revision %d became %d", before, now)
		}
		l.server.Put("entity/x", rebind.Content{}, "")
		b := l.start("b", modes.Auto, requireState)
		settle()
		if s := b.Status(); s.State != modes.StateMaster || s.Mirror.Count != 1 {
			t.Errorf("b = %+v", s)
		}
	})
}

func TestCleanStart_DeletesAllInTheFirstTermOnly(t *testing.T) {
	for _, mode := range []modes.Mode{modes.Auto, modes.Master, modes.Disabled} {
		inLab(t, func(t *testing.T, l *lab) {
			l.server.Put("entity/x", rebind.Content{}, "")
			l.server.Put("entity/y", rebind.Content{}, "garbage")
			a := l.start("a", mode, cleanStart)
			settle()
			if s := a.Status(); s.State != modes.StateMaster || s.Mirror.Count != 0 || s.Quarantined != 0 {
				t.Fatalf("mode %s: %+v", mode, s)
			}
			put(t, a, "entity/z", "1")
			if mode == modes.Disabled {
				return
			}
			term := a.Status().Term
			l.server.Revoke("a")
			pass(ttl)
			s := a.Status()
			if s.State != modes.StateMaster || s.Term <= term || s.Mirror.Count != 1 {
				t.Errorf("mode %s, second term: %+v, want what the first has written", mode, s)
			}
		})
	}
}

func TestCleanStart_IsRefusedWhereOthersLive(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		backup := l.start("d", modes.HotBackup)
		settle()
		l.server.Put("entity/x", rebind.Content{}, "")
		before := l.server.Revision()
		if err := l.start("a", modes.Auto, cleanStart).Wait(); !errors.Is(err, driver.ErrRefused) {
			t.Errorf("clean among others = %v", err)
		}
		if now := l.server.Revision(); now != before {
			t.Errorf("revision %d became %d", before, now)
		}
		// One that comes between the look and the term is noticed as well.
		_ = backup.Stop()
		looked, came := make(chan struct{}), make(chan struct{})
		l.at("a", memstore.CallLook, 1, func() error {
			close(looked)
			<-came
			return nil
		})
		cleaning := l.start("a", modes.Auto, cleanStart)
		<-looked
		late := l.start("e", modes.HotBackup)
		settle()
		close(came)
		if err := cleaning.Wait(); !errors.Is(err, driver.ErrRefused) {
			t.Errorf("clean beside one that came late = %v", err)
		}
		if r, err := late.Read(); err != nil || r.View.Len() != 1 {
			t.Errorf("state = %+v, %v, want it untouched", r, err)
		}
	})
}

func TestModeMaster_AtStartOutlastsAStoreThatFails(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		var reads atomic.Int64
		l.server.Before(func(node string, call memstore.Call) error {
			if node == "a" && call == memstore.CallPlane {
				if reads.Add(1) < 10 {
					return rebind.ErrUnavailable
				}
			}
			return nil
		})
		a := l.start("a", modes.Master)
		pass(4 * ttl)
		if s := a.Status().State; s != modes.StateMaster || reads.Load() < 10 {
			t.Errorf("a is %s after %d reads", s, reads.Load())
		}
	})
}

func TestChangeMode_OfAMasterInAFullStoreIsTakenBack(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := pair(l)
		put(t, a, "entity/x", "1")
		l.server.Fill(true)
		for _, to := range []modes.Mode{modes.Standby, modes.HotBackup, modes.Disabled} {
			change, err := changeMode(t, a, to)
			if !errors.Is(err, driver.ErrStoreFull) || change.Mode != modes.Auto || change.State != modes.StateMaster {
				t.Errorf("change to %s = %+v, %v", to, change, err)
			}
			if s := a.Status(); !s.Acting || s.Mode != modes.Auto {
				t.Errorf("after %s: acting %t, mode %s", to, s.Acting, s.Mode)
			}
		}
		if _, err := a.Commit(t.Context(), rebind.Delta{Ops: []rebind.Op{{Name: "entity/x"}}}); err != nil {
			t.Errorf("delete = %v", err)
		}
		l.server.Fill(false)
		put(t, a, "entity/x", "2")
		settle()
		if s := b.Status().State; s != modes.StateHotStandby {
			t.Errorf("b is %s", s)
		}
		if _, err := changeMode(t, a, modes.Standby); err != nil {
			t.Errorf("change with room = %v", err)
		}
	})
}

func TestOnTerm_TellsEachHigherTermOnce(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		var told []int64
		l.start("a", modes.Auto)
		settle()
		b := l.start("b", modes.HotStandby, func(c *coordinator.Config) {
			c.HighestTerm = 1
			c.OnTerm = func(term int64) { told = append(told, term) }
		})
		settle()
		first := l.nodes["a"].Status().Term
		if _, err := handover(t, l.nodes["a"], "b"); err != nil {
			t.Fatal(err)
		}
		settle()
		if want := []int64{first, b.Status().Term}; !slices.Equal(told, want) {
			t.Errorf("told %v, want %v", told, want)
		}
	})
}

// A store that was restored knows less than its nodes: terms go on from what they
// have seen.
func TestHighestTerm_IsSurpassed(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a := l.start("a", modes.Auto, func(c *coordinator.Config) { c.HighestTerm = 1000 })
		settle()
		b := l.start("b", modes.Auto)
		settle()
		if term := a.Status().Term; term != 1001 {
			t.Errorf("term %d, want the one after 1000", term)
		}
		l.kill("a")
		settle()
		if s := b.Status(); s.State != modes.StateMaster || s.Term != 1002 {
			t.Errorf("b is %s in term %d", s.State, s.Term)
		}
	})
}
