package coordinator_test

import (
	"errors"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// kill ends a node as the death of its process and the lapse of its lease would.
func (l *lab) kill(id string) {
	l.server.Cut(id) // first: the dead do not see what becomes of them
	l.server.Revoke(id)
}

func (l *lab) pause(by string, lasting time.Duration) {
	l.t.Helper()
	p, err := l.nodes[by].Pause(l.t.Context(), lasting)
	if err != nil || p.By != by || (p.Until != nil) != (lasting > 0) {
		l.t.Fatalf("pause = %+v, %v", p, err)
	}
	settle()
}

func (l *lab) resume(by string) {
	l.t.Helper()
	if err := l.nodes[by].Resume(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
	settle()
}

func TestPause_KeepsTheMasterAndPromotesNobodyWhenItDies(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		pair(l)
		l.pause("b", 0)
		pass(3 * ttl)
		l.want(map[string]modes.State{"a": modes.StateMaster, "b": modes.StateHotStandby})
		if p := l.nodes["a"].CachedPlane(); p.Pause == nil || p.Pause.By != "b" {
			t.Errorf("a sees pause %+v", p.Pause)
		}
		l.kill("a")
		pass(3 * ttl)
		if s := l.nodes["b"].Status(); s.State != modes.StateHotStandby || !s.InElection {
			t.Fatalf("b is %s, in the election: %t", s.State, s.InElection)
		}
		l.resume("b")
		if s := l.nodes["b"].Status().State; s != modes.StateMaster {
			t.Errorf("b is %s after the pause", s)
		}
	})
}

func TestPause_EndsByItself(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		pair(l)
		began := time.Now()
		l.pause("a", time.Minute)
		l.kill("a")
		for l.nodes["b"].Status().State != modes.StateMaster && time.Since(began) < 2*time.Minute {
			pass(100 * time.Millisecond)
		}
		if took := time.Since(began); took < time.Minute || took > time.Minute+2*time.Second {
			t.Errorf("b led after %s of a pause of a minute", took)
		}
	})
}

func TestPause_CleanStopHandsNothingOver(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		pair(l)
		l.pause("a", 0)
		if err := l.nodes["a"].Stop(); err != nil {
			t.Fatal(err)
		}
		pass(3 * ttl)
		p := l.nodes["b"].CachedPlane()
		if s := l.nodes["b"].Status().State; s != modes.StateHotStandby || p.Held || len(p.Members) != 1 {
			t.Fatalf("b is %s, plane = %+v", s, p)
		}
		l.resume("b")
		if s := l.nodes["b"].Status().State; s != modes.StateMaster {
			t.Errorf("b is %s after the pause", s)
		}
	})
}

func TestPause_DemotedMasterDoesNotTakeItBack(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a := l.start("a", modes.Auto)
		settle()
		l.pause("a", 0)
		began := time.Now()
		change, err := changeMode(t, a, modes.HotStandby)
		if err != nil || change.State != modes.StateHotStandby {
			t.Fatalf("change = %+v, %v", change, err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("answered after %s", took)
		}
		pass(3 * ttl)
		l.want(map[string]modes.State{"a": modes.StateHotStandby})
		l.resume("a")
		l.want(map[string]modes.State{"a": modes.StateMaster})
		l.pause("a", 0)
		l.server.DeleteCandidate("a")
		pass(3 * ttl)
		l.want(map[string]modes.State{"a": modes.StateHotStandby})
	})
}

func TestPause_HandoverAndModeMasterWorkAllTheSame(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		pair(l)
		l.pause("a", 0)
		if _, err := handover(t, l.nodes["a"], "b"); err != nil {
			t.Fatalf("handover in a pause: %v", err)
		}
		l.kill("b")
		pass(ttl)
		change, err := changeMode(t, l.nodes["a"], modes.Master)
		if err != nil || change.State != modes.StateMaster {
			t.Fatalf("mode master in a pause = %+v, %v", change, err)
		}
		put(t, l.nodes["a"], "entity/x", "1")
	})
}

func TestPause_OfNegativeLengthIsInvalid(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a := l.start("a", modes.Auto)
		settle()
		if _, err := a.Pause(t.Context(), -1); !errors.Is(err, rebind.ErrInvalid) {
			t.Errorf("pause = %v, want ErrInvalid", err)
		}
	})
}

func (l *lab) left() map[string]driver.Departed {
	l.t.Helper()
	p, err := l.server.Node("observer").Plane(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	found := make(map[string]driver.Departed)
	for _, gone := range p.Departed {
		found[gone.ID] = gone
	}
	return found
}

func TestLeft_NodesThatStopAndVanishAreRemembered(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		fullPlane(l)
		if err := l.nodes["d"].Stop(); err != nil {
			t.Fatal(err)
		}
		l.kill("c")
		settle()
		left := l.left()
		if d := left["d"]; d.State != modes.StateTerminated || d.Was != modes.StateHotBackup || d.How != driver.DepartureStopped || d.URI != "http://d" {
			t.Errorf("d = %+v", d)
		}
		if c := left["c"]; c.State != modes.StateTerminated || c.Was != modes.StateStandby || c.How != driver.DepartureLost || c.At.IsZero() {
			t.Errorf("c = %+v", c)
		}
		l.kill("a") // the master: its successor says so
		pass(ttl)
		if a := l.left()["a"]; a.Was != modes.StateMaster || a.How != driver.DepartureLost {
			t.Errorf("a = %+v, b is %s", a, l.nodes["b"].Status().State)
		}
		l.server.Heal("a")
		l.server.Heal("c")
		pass(2 * ttl)
		left = l.left()
		if len(left) != 1 || left["d"].ID == "" {
			t.Errorf("left = %+v, want d alone, the others are back", left)
		}
	})
}

func TestLeft_MasterThatStopsWasMaster(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		pair(l)
		if err := l.nodes["a"].Stop(); err != nil {
			t.Fatal(err)
		}
		settle()
		if a := l.left()["a"]; a.Was != modes.StateMaster || a.How != driver.DepartureStopped || a.Term != 0 {
			t.Errorf("a = %+v", a)
		}
	})
}

func TestLeft_IsWrittenOnceTheStoreHasRoomAgain(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		fullPlane(l)
		l.server.Fill(true)
		l.kill("c")
		settle()
		if left := l.left(); len(left) != 0 {
			t.Fatalf("left = %+v in a full store", left)
		}
		l.server.Fill(false)
		settle()
		if c := l.left()["c"]; c.How != driver.DepartureLost {
			t.Errorf("c = %+v", c)
		}
	})
}

func TestForget_DeletesTheDeadAndRefusesTheLiving(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		fullPlane(l)
		l.kill("c")
		settle()
		b := l.nodes["b"]
		if err := b.Forget(t.Context(), "d"); !errors.Is(err, driver.ErrRefused) {
			t.Errorf("forget a live node = %v", err)
		}
		if err := b.Forget(t.Context(), "nobody"); !errors.Is(err, driver.ErrNoNode) {
			t.Errorf("forget nobody = %v", err)
		}
		if err := b.Forget(t.Context(), "c"); err != nil {
			t.Errorf("forget the dead = %v", err)
		}
		settle()
		if left := l.left(); len(left) != 0 {
			t.Errorf("left = %+v, want it forgotten for good", left)
		}
	})
}

// The better candidate takes the term when a pause is over, however long that was
// and whoever came first in the queue.
func TestPause_TheBestCandidateLeadsAfterIt(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.start("a", modes.Auto)
		settle()
		l.start("d", modes.Standby) // first in the queue
		settle()
		l.start("b", modes.HotStandby)
		settle()
		l.pause("a", time.Minute)
		l.kill("a")
		pass(61 * time.Second)
		if id := l.master().Status().ID; id != "b" {
			t.Errorf("%s leads after the pause, want b, which is hot", id)
		}
	})
}
