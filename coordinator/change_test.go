package coordinator_test

import (
	"errors"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
)

// plane starts a master, a hot and a cold standby and a hot backup.
func fullPlane(l *lab) {
	l.start("a", modes.Auto)
	settle()
	l.start("b", modes.HotStandby)
	l.start("c", modes.Standby)
	l.start("d", modes.HotBackup)
	settle()
	put(l.t, l.nodes["a"], "entity/x", "1")
	settle()
}

func TestChangeMode_ByTheTable(t *testing.T) {
	type states = map[string]modes.State
	const (
		master  = modes.StateMaster
		standby = modes.StateStandby
		hot     = modes.StateHotStandby
		backup  = modes.StateHotBackup
	)
	cases := []struct {
		name string
		node string
		to   modes.Mode
		want states
	}{
		{"MASTER to standby", "a", modes.Standby, states{"a": standby, "b": master, "c": standby, "d": backup}},
		{"MASTER to hot_standby", "a", modes.HotStandby, states{"a": hot, "b": master, "c": standby, "d": backup}},
		{"MASTER to hot_backup", "a", modes.HotBackup, states{"a": backup, "b": master, "c": standby, "d": backup}},
		{"MASTER to auto", "a", modes.Auto, states{"a": master, "b": hot, "c": standby, "d": backup}},
		{"MASTER to master", "a", modes.Master, states{"a": master, "b": hot, "c": standby, "d": backup}},
		{"HOT_STANDBY to hot_backup", "b", modes.HotBackup, states{"a": master, "b": backup, "c": standby, "d": backup}},
		{"HOT_BACKUP to hot_standby", "d", modes.HotStandby, states{"a": master, "b": hot, "c": standby, "d": hot}},
		{"HOT_BACKUP to auto", "d", modes.Auto, states{"a": master, "b": hot, "c": standby, "d": hot}},
		{"HOT_BACKUP to standby", "d", modes.Standby, states{"a": master, "b": hot, "c": standby, "d": standby}},
		{"STANDBY to hot_standby", "c", modes.HotStandby, states{"a": master, "b": hot, "c": hot, "d": backup}},
		{"STANDBY to hot_backup", "c", modes.HotBackup, states{"a": master, "b": hot, "c": backup, "d": backup}},
		{"STANDBY to auto", "c", modes.Auto, states{"a": master, "b": hot, "c": hot, "d": backup}},
		{"HOT_STANDBY to standby", "b", modes.Standby, states{"a": master, "b": standby, "c": standby, "d": backup}},
		{"HOT_STANDBY to hot_standby", "b", modes.HotStandby, states{"a": master, "b": hot, "c": standby, "d": backup}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				fullPlane(l)
				n := l.nodes[c.node]
				before := n.Status()
				change, err := changeMode(t, n, c.to)
				if err != nil {
					t.Fatal(err)
				}
				want := coordinator.ModeChange{
					Mode: c.to, PreviousMode: before.Mode,
					State: c.want[c.node], PreviousState: before.State,
				}
				if change != want {
					t.Errorf("answer = %+v, want %+v", change, want)
				}
				settle()
				l.want(c.want)
				p, err := n.Plane(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				m, _ := p.Member(c.node)
				if m.Mode != c.to || m.State != c.want[c.node] {
					t.Errorf("record says %s %s", m.Mode, m.State)
				}
				if inElection := m.Candidacy != 0; inElection != c.to.Promotable() {
					t.Errorf("in the election: %t, mode %s", inElection, c.to)
				}
			})
		})
	}
}

func TestChangeMode_MasterIsRefusedWhileOneLives(t *testing.T) {
	for _, id := range []string{"b", "c", "d"} {
		inLab(t, func(t *testing.T, l *lab) {
			fullPlane(l)
			before := l.states()
			mode := l.nodes[id].Status().Mode
			_, err := changeMode(t, l.nodes[id], modes.Master)
			var exists *coordinator.MasterError
			if !errors.As(err, &exists) || exists.ID != "a" {
				t.Fatalf("%s to master = %v, want a refusal that names a", id, err)
			}
			settle()
			l.want(before)
			if got := l.nodes[id].Status().Mode; got != mode {
				t.Errorf("mode of %s = %s, want %s kept", id, got, mode)
			}
		})
	}
}

func TestChangeMode_HotBackupLeadsOnlyByOrder(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.start("a", modes.Auto)
		settle()
		put(t, l.nodes["a"], "entity/x", "1")
		d := l.start("d", modes.HotBackup)
		settle()
		if err := l.nodes["a"].Stop(); err != nil {
			t.Fatal(err)
		}
		pass(3 * ttl)
		if s := d.Status().State; s != modes.StateHotBackup {
			t.Fatalf("hot backup without a master is %s", s)
		}
		change, err := changeMode(t, d, modes.Master)
		if err != nil || change.State != modes.StateMaster {
			t.Fatalf("ordered to lead: %+v, %v", change, err)
		}
		put(t, d, "entity/x", "2")
	})
}

func TestChangeMode_OnlyCandidateIsElectedAgain(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a := l.start("a", modes.Auto)
		l.start("d", modes.HotBackup)
		settle()
		old := a.Status().Term
		change, err := changeMode(t, a, modes.HotStandby)
		if err != nil || change.Mode != modes.HotStandby || change.State != modes.StateMaster {
			t.Fatalf("answer = %+v, %v, want it to say that a leads again", change, err)
		}
		if a.Status().Term <= old {
			t.Errorf("term %d after %d, want a new one", a.Status().Term, old)
		}
		h, err := a.History(t.Context())
		if err != nil || h[0].Reason != driver.ReasonDemotion {
			t.Errorf("history = %+v, %v, want a demotion", h, err)
		}
	})
}

func TestChangeMode_DemotedMasterIsChosenLastWhateverItsPriority(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a := l.start("a", modes.Auto, func(c *coordinator.Config) { c.Priority = 100 })
		settle()
		l.start("b", modes.Standby, func(c *coordinator.Config) { c.Priority = -5 })
		settle()
		if _, err := changeMode(t, a, modes.HotStandby); err != nil {
			t.Fatal(err)
		}
		settle()
		l.want(map[string]modes.State{"a": modes.StateHotStandby, "b": modes.StateMaster})
		// For the next vacancy its priority counts again.
		l.start("c", modes.HotStandby, func(c *coordinator.Config) { c.Priority = 1 })
		settle()
		_ = l.nodes["b"].Stop()
		settle()
		if got := l.master().Status().ID; got != "a" {
			t.Errorf("%s leads, want a", got)
		}
	})
}

func TestChangeMode_MasterToHotBackupMayLeaveNoMaster(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a := l.start("a", modes.Auto)
		settle()
		change, err := changeMode(t, a, modes.HotBackup)
		if err != nil || change.State != modes.StateHotBackup {
			t.Fatalf("answer = %+v, %v", change, err)
		}
		pass(3 * ttl)
		l.want(map[string]modes.State{"a": modes.StateHotBackup})
		if _, err := changeMode(t, a, modes.Auto); err != nil {
			t.Fatal(err)
		}
		settle()
		l.master()
	})
}

func TestChangeMode_GoesOnAfterItsCallerHasLeft(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		fullPlane(l)
		c := l.nodes["c"]
		l.server.Cut("c")
		change, err := changeMode(t, c, modes.HotBackup)
		if !errors.Is(err, coordinator.ErrPending) {
			t.Fatalf("change without a store = %+v, %v, want ErrPending", change, err)
		}
		if change.PreviousMode != modes.Standby {
			t.Errorf("previous mode = %s", change.PreviousMode)
		}
		l.server.Heal("c")
		pass(ttl)
		if s := c.Status().State; s != modes.StateHotBackup {
			t.Errorf("state = %s, want the change to have gone on", s)
		}
	})
}

func TestSetPriority_CountsFromTheNextVacancy(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.start("a", modes.Auto)
		settle()
		l.start("b", modes.HotStandby)
		settle()
		c := l.start("c", modes.HotStandby)
		settle()
		was, err := c.SetPriority(t.Context(), 7)
		if err != nil || was != 0 {
			t.Fatalf("was %d, %v", was, err)
		}
		settle()
		if got := l.master().Status().ID; got != "a" {
			t.Errorf("%s leads, want a not to be unseated", got)
		}
		l.server.Revoke("a")
		l.server.Cut("a")
		pass(ttl)
		if c.Status().State != modes.StateMaster {
			t.Errorf("states = %v, want c, which ranks highest", l.states())
		}
	})
}

func TestStop_HandsOverAtOnce(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		fullPlane(l)
		began := time.Now()
		if err := l.nodes["a"].Stop(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("stop took %s", took)
		}
		pass(time.Second)
		if got := l.nodes["b"].Status().State; got != modes.StateMaster {
			t.Fatalf("states = %v, want b to lead without waiting for the TTL", l.states())
		}
		h, err := l.nodes["b"].History(t.Context())
		if err != nil || h[0].Reason != driver.ReasonHandover || h[0].From != "a" {
			t.Errorf("history = %+v, %v", h, err)
		}
		if p, _ := l.nodes["b"].Plane(t.Context()); len(p.Members) != 3 {
			t.Errorf("members = %v, want a gone", p.Members)
		}
	})
}

func TestStop_IsBoundedWithoutTheStore(t *testing.T) {
	for _, id := range []string{"a", "b", "c", "d"} {
		inLab(t, func(t *testing.T, l *lab) {
			fullPlane(l)
			l.server.Cut(id)
			began := time.Now()
			if err := l.nodes[id].Stop(); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("stop of %s took %s", id, took)
			}
		})
	}
}

func TestStop_OfTheOneWhoseStoreItIs(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a := l.start("a", modes.Auto, func(c *coordinator.Config) { c.OwnsStore = true })
		settle()
		l.start("b", modes.HotStandby)
		settle()
		if err := a.Stop(); err != nil {
			t.Fatal(err)
		}
		p, err := l.nodes["b"].Plane(t.Context())
		if err != nil || !p.Held || p.Holder.Node != "a" {
			t.Errorf("plane = %+v, %v, want nothing handed over", p, err)
		}
	})
}
