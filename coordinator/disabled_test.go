package coordinator_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/coordtest/memstore"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

func write(name string) rebind.Delta {
	return rebind.Delta{Ops: []rebind.Op{{Name: rebind.Name(name), Put: &rebind.Content{}}}}
}

func TestDisabled_LeadsAloneAndKeepsOthersOut(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		x := l.start("x", modes.Disabled)
		settle()
		l.want(map[string]modes.State{"x": modes.StateMaster})
		put(t, x, "entity/x", "1")
		for _, mode := range []modes.Mode{modes.Auto, modes.HotBackup, modes.Disabled} {
			if err := l.start("y", mode).Wait(); !errors.Is(err, driver.ErrExclusive) || !contains(err.Error(), "x") {
				t.Errorf("%s beside a disabled node = %v", mode, err)
			}
		}
		if _, err := changeMode(t, x, modes.Auto); !errors.Is(err, driver.ErrRefused) {
			t.Errorf("mode change = %v, want ErrRefused", err)
		}
		pass(3 * ttl)
		l.want(map[string]modes.State{"x": modes.StateMaster, "y": modes.StateTerminated})
		p, err := x.Plane(t.Context())
		if err != nil || len(p.Members) != 0 || p.Held || len(p.Departed) != 0 {
			t.Errorf("plane = %+v, %v, want it to show nothing", p, err)
		}
		began := time.Now()
		if err := x.Stop(); err != nil {
			t.Fatal(err)
		}
		z := l.start("z", modes.Auto)
		settle()
		if s := z.Status(); s.State != modes.StateMaster || time.Since(began) > ttl {
			t.Errorf("z is %s after x has stopped", s.State)
		}
		if r, err := z.Read(); err != nil || r.View.Len() != 1 {
			t.Errorf("z reads %v, %v", r, err)
		}
	})
}

func TestDisabled_IsRefusedWhereOthersLive(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		pair(l)
		before := l.server.Revision()
		if err := l.start("x", modes.Disabled).Wait(); !errors.Is(err, driver.ErrExclusive) {
			t.Errorf("disabled among others = %v", err)
		}
		if now := l.server.Revision(); now != before {
			t.Errorf("revision %d became %d: something was written", before, now)
		}
	})
}

func TestDisabled_FailsWhenItsGuardOrItsStoreIsLost(t *testing.T) {
	faults := map[string]func(*lab){
		"guard deleted": func(l *lab) { l.server.DeleteGuard() },
		"cut off":       func(l *lab) { l.server.Cut("x") },
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				c := newCalls()
				x := l.start("x", modes.Disabled, c.config)
				settle()
				<-c.begun
				fault(l)
				pass(ttl)
				s := x.Status()
				if s.State != modes.StateFailed || s.Acting || s.LastError == "" {
					t.Errorf("x is %s, acting %t, because of %q", s.State, s.Acting, s.LastError)
				}
				if cause := <-c.ended; !errors.Is(cause, driver.ErrTermOver) {
					t.Errorf("program ended with %v", cause)
				}
				if _, err := x.Commit(t.Context(), write("entity/x")); !errors.Is(err, coordinator.ErrNotMaster) {
					t.Errorf("write = %v", err)
				}
				if _, err := changeMode(t, x, modes.Auto); !errors.Is(err, driver.ErrRefused) {
					t.Errorf("mode change = %v, want ErrRefused", err)
				}
				l.server.Heal("x")
				l.start("y", modes.Auto)
				pass(2 * ttl)
				l.want(map[string]modes.State{"x": modes.StateFailed, "y": modes.StateMaster})
			})
		})
	}
}

func TestDisabled_AtRunTimeLeavesThePlane(t *testing.T) {
	for id, was := range map[string]modes.State{
		"a": modes.StateMaster, "b": modes.StateHotStandby, "c": modes.StateStandby, "d": modes.StateHotBackup,
	} {
		t.Run(was.String(), func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				fullPlane(l)
				n := l.nodes[id]
				for range 2 { // the second time it is what it is asked to be
					change, err := changeMode(t, n, modes.Disabled)
					if err != nil || change.Mode != modes.Disabled || change.State != modes.StateFailed {
						t.Fatalf("change = %+v, %v", change, err)
					}
				}
				settle()
				p, err := n.Plane(t.Context())
				if _, live := p.Member(id); live || err != nil {
					t.Errorf("it is still in the plane: %v, %v", p.Members, err)
				}
				if s := n.Status(); s.LeaseRemaining > 0 || s.InElection || s.Mirror != nil || s.LastError == "" {
					t.Errorf("status = %+v, want no lease and no mirror", s)
				}
				if left := l.left()[id]; left.Was != was || left.How != driver.DepartureStopped {
					t.Errorf("left = %+v, want it to say that it was %s", left, was)
				}
				put(t, l.master(), "entity/y", "1")
				pass(3 * ttl)
				if s := n.Status().State; s != modes.StateFailed {
					t.Errorf("it is %s", s)
				}
				change, err := changeMode(t, n, modes.HotBackup)
				if err != nil || change.State != modes.StateHotBackup || n.Status().LastError != "" {
					t.Errorf("change back = %+v, %v, last error %q", change, err, n.Status().LastError)
				}
			})
		})
	}
}

func TestDisabled_AtRunTimeWithoutTheStore(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		fullPlane(l)
		b := l.nodes["b"]
		l.server.Cut("b")
		change, err := changeMode(t, b, modes.Disabled)
		if err != nil && !errors.Is(err, coordinator.ErrPending) {
			t.Fatalf("change = %+v, %v", change, err)
		}
		l.server.Heal("b")
		pass(2 * ttl)
		if s := b.Status().State; s != modes.StateFailed {
			t.Errorf("b is %s", s)
		}
		if p, _ := b.Plane(t.Context()); len(p.Members) != 3 {
			t.Errorf("members = %v", p.Members)
		}
		if change, err := changeMode(t, b, modes.HotStandby); err != nil || change.State != modes.StateHotStandby {
			t.Errorf("change back = %+v, %v", change, err)
		}
	})
}

func TestDisabled_WhileAFailedNodeJoinsAgain(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		fire := make(chan struct{})
		a := l.start("a", modes.Auto, func(c *coordinator.Config) {
			c.Lead = func(context.Context, *coordinator.Leader) error { <-fire; return errors.New("disk on fire") }
		})
		settle()
		b := l.start("b", modes.Auto)
		settle()
		close(fire)
		settle()
		var open atomic.Bool
		l.server.Before(func(node string, call memstore.Call) error {
			if node == "a" && call == memstore.CallJoin && !open.Load() {
				return errors.New("not now")
			}
			return nil
		})
		l.server.Revoke("a")
		pass(ttl)
		l.want(map[string]modes.State{"a": modes.StateFailed, "b": modes.StateMaster})
		var asked sync.WaitGroup
		asked.Go(func() {
			if _, err := changeMode(t, a, modes.Disabled); err != nil {
				t.Errorf("change = %v", err)
			}
		})
		pass(ttl)
		open.Store(true)
		asked.Wait()
		pass(2 * ttl)
		if p, err := b.Plane(t.Context()); len(p.Members) != 1 || err != nil {
			t.Errorf("members = %v, %v, want a out of the plane", p.Members, err)
		}
		if s := a.Status(); s.Mode != modes.Disabled || s.State != modes.StateFailed || s.LeaseRemaining > 0 {
			t.Errorf("status = %+v, want it to be disabled and without a lease", s)
		}
	})
}
