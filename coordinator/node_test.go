package coordinator_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

func TestNode_FirstLeadsOthersStandBy(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a := l.start("a", modes.Auto)
		settle()
		l.start("b", modes.HotStandby)
		l.start("c", modes.Standby)
		l.start("d", modes.HotBackup)
		settle()
		l.want(map[string]modes.State{
			"a": modes.StateMaster, "b": modes.StateHotStandby,
			"c": modes.StateStandby, "d": modes.StateHotBackup,
		})
		put(t, a, "entity/x", "1")
		settle()
		for _, id := range []string{"b", "d"} {
			reading, err := l.nodes[id].Read()
			if err != nil {
				t.Fatal(err)
			}
			if m, err := reading.View.Get("entity/x"); err != nil || string(m.Payload) != "1" {
				t.Errorf("%s reads %v, %v", id, m, err)
			}
		}
		if _, err := l.nodes["c"].Read(); !errors.Is(err, coordinator.ErrNotReadable) {
			t.Errorf("cold standby reads: %v", err)
		}
		if _, err := l.nodes["b"].Commit(t.Context(), rebind.Delta{}); !errors.Is(err, coordinator.ErrNotMaster) {
			t.Errorf("standby writes: %v", err)
		}
	})
}

func TestNode_ManyAtOnceGiveOneMaster(t *testing.T) {
	for range 20 {
		inLab(t, func(t *testing.T, l *lab) {
			for i := range 20 {
				l.start(fmt.Sprintf("n%02d", i), modes.Auto)
			}
			settle()
			l.master()
			standing := 0
			for _, s := range l.states() {
				if s == modes.StateHotStandby {
					standing++
				}
			}
			if standing != 19 {
				t.Fatalf("states = %v, want 19 hot standbys", l.states())
			}
		})
	}
}

func TestNode_RefusesToStartWhereItsModeDoesNotAllow(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		for _, mode := range []modes.Mode{modes.Standby, modes.HotStandby} {
			if err := l.start("x-"+mode.String(), mode).Wait(); !errors.Is(err, coordinator.ErrNoMaster) {
				t.Errorf("%s without a master: %v, want ErrNoMaster", mode, err)
			}
		}
		waiting := l.start("w", modes.HotStandby, func(c *coordinator.Config) { c.WaitForMaster = 5 * time.Second })
		pass(time.Second)
		if s := waiting.Status().State; s != modes.StateInitializing {
			t.Errorf("waiting for a master as %s", s)
		}
		l.start("m", modes.Master)
		settle()
		if l.states()["m"] != modes.StateMaster || l.states()["w"] != modes.StateHotStandby {
			t.Errorf("states = %v", l.states())
		}
		err := l.start("n", modes.Master).Wait()
		var exists *coordinator.MasterError
		if !errors.As(err, &exists) || exists.ID != "m" {
			t.Errorf("second master: %v, want a refusal that names m", err)
		}
		if p, err := l.nodes["m"].Plane(t.Context()); err != nil || len(p.Members) != 2 {
			t.Errorf("members = %v, want none of those that were refused", p.Members)
		}
	})
}

func TestNode_WaitForMasterEnds(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		began := time.Now()
		n := l.start("w", modes.Standby, func(c *coordinator.Config) { c.WaitForMaster = 5 * time.Second })
		if err := n.Wait(); !errors.Is(err, coordinator.ErrNoMaster) {
			t.Fatalf("Run = %v, want ErrNoMaster", err)
		}
		if waited := time.Since(began); waited < 5*time.Second || waited > 7*time.Second {
			t.Errorf("waited %s, want 5s", waited)
		}
	})
}

func TestNode_HotBackupAloneTouchesNothingButItsRecord(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		n := l.start("c", modes.HotBackup)
		pass(3 * ttl)
		l.want(map[string]modes.State{"c": modes.StateHotBackup})
		p, err := n.Plane(t.Context())
		if err != nil || p.ID != "" || p.Holder.Term != 0 || p.Members[0].Candidacy != 0 {
			t.Fatalf("plane = %+v, %v, want a record and nothing else", p, err)
		}
		if _, err := changeMode(t, n, modes.Auto); err != nil {
			t.Fatal(err)
		}
		settle()
		l.want(map[string]modes.State{"c": modes.StateMaster}) // so that the test can fail
	})
}

// Promise: a node that may not be promoted has no key in the election.
func TestNode_HotBackupStaysOutOfTheElection(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a := l.start("a", modes.Auto)
		settle()
		l.start("b", modes.HotStandby)
		backup := l.start("c", modes.HotBackup)
		settle()
		p, err := a.Plane(t.Context())
		b, _ := p.Member("b")
		c, _ := p.Member("c")
		if err != nil || b.Candidacy == 0 || c.Candidacy != 0 {
			t.Errorf("b = %+v, c = %+v, %v, want b in the election alone", b, c, err)
		}
		_ = backup.Stop() // did it stand, it would be elected once the others stop
	})
}

func TestNode_TakenIDIsRefusedWhileItsHolderLives(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		first := l.start("a", modes.Auto)
		settle()
		asked := driver.Record{}
		second := l.start("a", modes.Auto, func(c *coordinator.Config) {
			c.StillAlive = func(_ context.Context, r driver.Record) bool { asked = r; return true }
		})
		if err := second.Wait(); !errors.Is(err, driver.ErrNodeTaken) {
			t.Errorf("second process = %v, want ErrNodeTaken", err)
		}
		if asked.Instance != first.Status().Instance {
			t.Errorf("asked for %+v, want the record of the first", asked)
		}
		if s := first.Status().State; s != modes.StateMaster {
			t.Errorf("first is %s, want it undisturbed", s)
		}
		_ = first.Stop()
	})
}

func TestNode_TakenIDIsHadOnceTheRecordLapses(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		dead := l.start("a", modes.Auto)
		settle()
		l.server.Cut("a") // as good as dead: nothing of it reaches the store
		began := time.Now()
		next := l.startAs("a", "a2", modes.Auto)
		for next.Status().State != modes.StateMaster && time.Since(began) < time.Minute {
			pass(100 * time.Millisecond)
		}
		if took := time.Since(began); took > ttl+2*time.Second {
			t.Errorf("led after %s, want within the TTL and a little", took)
		}
		l.server.Heal("a")
		_ = dead.Stop()
		_ = next.Stop()
	})
}

func TestNode_TransitionsAreTold(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		n := l.start("a", modes.Auto)
		settle()
		if err := n.Stop(); err != nil {
			t.Fatal(err)
		}
		want := "[INITIALIZING>HOT_STANDBY HOT_STANDBY>MASTER MASTER>HOT_STANDBY HOT_STANDBY>TERMINATED]"
		var got []string
		for _, tr := range n.Transitions() {
			got = append(got, fmt.Sprintf("%s>%s", tr.From, tr.To))
		}
		if fmt.Sprint(got) != want {
			t.Errorf("observed %v, want %s", got, want)
		}
		told := n.Status().Transitions
		if len(told) != len(got) || told[0].To != modes.StateTerminated {
			t.Errorf("status tells %v, want the same, newest first", told)
		}
	})
}

func TestNode_ObserverThatPanicsOrHangsHurtsNobody(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		hang := make(chan struct{})
		defer close(hang)
		l.start("a", modes.Auto, func(c *coordinator.Config) {
			c.Observe = func(coordinator.Transition) { panic("observer") }
		})
		settle()
		l.start("b", modes.Auto, func(c *coordinator.Config) {
			c.Observe = func(coordinator.Transition) { <-hang }
		})
		settle()
		l.want(map[string]modes.State{"a": modes.StateMaster, "b": modes.StateHotStandby})
		if err := l.nodes["b"].Stop(); err != nil {
			t.Errorf("stop = %v", err)
		}
	})
}

func TestNew_ReportsEveryMistake(t *testing.T) {
	_, err := coordinator.New(coordinator.Config{ID: "a b", Plane: "P", WaitForMaster: -1, MaxPayload: -1}, nil)
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{"node id", "plane", "mode", "wait for master", "max payload"} {
		if !contains(err.Error(), part) {
			t.Errorf("error %q does not name the %s", err, part)
		}
	}
}
