package coordinator_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/coordtest/memstore"
	"github.com/coordinator-ha/coordinator/modes"
)

func TestListener_HearsEachStateOnceAndInOrder(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		fullPlane(l)
		c := l.nodes["c"]
		for _, to := range []modes.Mode{modes.HotStandby, modes.HotBackup, modes.Standby, modes.Disabled, modes.Standby} {
			if _, err := changeMode(t, c, to); err != nil {
				t.Fatal(err)
			}
		}
		settle() // until it stands for election
		if _, err := handover(t, l.nodes["a"], "c"); err != nil {
			t.Fatal(err)
		}
		if err := c.Stop(); err != nil {
			t.Fatal(err)
		}
		heard := c.Transitions()
		states := []modes.State{modes.StateInitializing}
		for i, tr := range heard {
			if tr.From != states[i] || tr.From == tr.To {
				t.Errorf("transition %d is %s to %s, after %s", i, tr.From, tr.To, states[i])
			}
			if i > 0 && tr.At.Before(heard[i-1].At) {
				t.Errorf("transition %d is earlier than the one before", i)
			}
			states = append(states, tr.To)
		}
		want := "[INITIALIZING STANDBY INITIALIZING HOT_STANDBY HOT_BACKUP STANDBY FAILED INITIALIZING STANDBY INITIALIZING MASTER STANDBY TERMINATED]"
		if fmt.Sprint(states) != want {
			t.Errorf("states = %v, want %s", states, want)
		}
		told := c.Status().Transitions
		slices.Reverse(told)
		if !slices.Equal(told, heard) {
			t.Errorf("status tells %v, listeners heard %v", told, heard)
		}
	})
}

// What was announced is what is heard: neither before the store has it nor before
// the state can be read and written.
func TestListener_HearsOfMasterOnceItIsOne(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		first := l.start("a", modes.Auto)
		settle()
		put(t, first, "entity/x", "1")
		heard := make(chan error, 1)
		var b *running
		b = l.start("b", modes.Standby, func(c *coordinator.Config) {
			c.Observe = func(tr coordinator.Transition) {
				if tr.To != modes.StateMaster {
					return
				}
				p, err := l.server.Node("observer").Plane(context.Background())
				if m, ok := p.Master(); err == nil && (!ok || m.ID != "b") {
					err = errors.New("the store knows nothing of it")
				}
				r, readErr := b.Read()
				if readErr == nil && r.View.Len() != 1 {
					readErr = errors.New("the state is not all there")
				}
				_, writeErr := b.Commit(context.Background(), write("entity/y"))
				heard <- errors.Join(err, readErr, writeErr)
			}
		})
		settle()
		l.at("b", memstore.CallAnnounce, 1, func() error {
			<-time.After(time.Second)
			if len(heard) != 0 || b.Status().State == modes.StateMaster {
				t.Error("master before it was announced")
			}
			return nil
		})
		l.kill("a")
		if err := <-heard; err != nil {
			t.Error(err)
		}
	})
}

func TestListener_ThatIsSlowHurtsNobody(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		var heard []modes.State
		a := l.start("a", modes.Auto, func(c *coordinator.Config) {
			c.Observe = func(tr coordinator.Transition) {
				<-time.After(time.Minute)
				heard = append(heard, tr.To)
			}
		})
		settle()
		l.start("b", modes.HotStandby)
		settle()
		for _, to := range []modes.Mode{modes.HotStandby, modes.HotBackup, modes.Standby} {
			began := time.Now()
			if _, err := changeMode(t, a, to); err != nil || time.Since(began) > time.Second {
				t.Errorf("change to %s: %v after %s", to, err, time.Since(began))
			}
		}
		settle()
		l.want(map[string]modes.State{"a": modes.StateStandby, "b": modes.StateMaster})
		pass(10 * time.Minute)
		want := []modes.State{modes.StateHotStandby, modes.StateMaster, modes.StateHotStandby, modes.StateHotBackup, modes.StateStandby}
		if !slices.Equal(heard, want) {
			t.Errorf("heard %v in the end, want %v", heard, want)
		}
		began := time.Now()
		if err := a.Stop(); err != nil || time.Since(began) > 10*time.Second {
			t.Errorf("stop = %v after %s", err, time.Since(began))
		}
		pass(2 * time.Minute)
	})
}

// A program that does not heed its context costs a demotion its budget and not the
// node its lease.
func TestProgram_ThatOutlivesItsContextIsBounded(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		release := make(chan struct{})
		a := l.start("a", modes.Auto, func(c *coordinator.Config) {
			c.Lead = func(context.Context, *coordinator.Leader) error { <-release; return nil }
		})
		settle()
		b := l.start("b", modes.HotStandby)
		settle()
		began := time.Now()
		change, err := changeMode(t, a, modes.HotStandby)
		if err != nil || change.State != modes.StateHotStandby {
			t.Errorf("change = %+v, %v", change, err)
		}
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("took %s", took)
		}
		if s := a.Status(); s.LeaseRemaining <= 0 || len(s.Transitions) != 3 {
			t.Errorf("lease %s, transitions %v, want neither lost", s.LeaseRemaining, s.Transitions)
		}
		settle()
		if s := b.Status().State; s != modes.StateMaster {
			t.Errorf("b is %s", s)
		}
		pass(3 * ttl)
		if s := a.Status(); s.InElection || s.LeaseRemaining <= 0 {
			t.Errorf("in the election: %t, lease %s", s.InElection, s.LeaseRemaining)
		}
		close(release)
		settle()
		if s := a.Status(); !s.InElection {
			t.Error("not in the election once its program has returned")
		}
	})
}
