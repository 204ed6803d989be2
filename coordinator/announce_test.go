package coordinator_test

import (
	"errors"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/coordtest/memstore"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// Promise: who hears that a write is stored can see who is master. The write goes out
// beside the announcement, and is answered after it.
func TestAnnounce_WritesGoOutBesideItAndAreAnsweredAfterIt(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := pair(l)
		var wrote <-chan error
		l.at("b", memstore.CallAnnounce, 1, func() error {
			wrote = committing(t, b, "entity/early")
			if r, err := a.Read(); err != nil || r.View.Len() != 1 {
				t.Errorf("a reads %+v, %v, want what b has written", r, err)
			}
			if len(wrote) != 0 {
				t.Errorf("a write was answered by b, which is %s", b.Status().State)
			}
			if _, err := handover(t, b, "a"); !errors.Is(err, coordinator.ErrNotMaster) {
				t.Errorf("handover by a master that is not announced = %v", err)
			}
			return nil
		})
		if _, err := handover(t, a, "b"); err != nil {
			t.Fatal(err)
		}
		if err := <-wrote; err != nil {
			t.Errorf("write beside the announcement = %v", err)
		}
	})
}

// A term that ends before it is announced does not undo what was written in it.
func TestAnnounce_ThatNeverComesKeepsNoCaller(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := pair(l)
		var wrote <-chan error
		l.at("b", memstore.CallAnnounce, 1, func() error {
			wrote = committing(t, b, "entity/early")
			l.server.Cut("b")
			return rebind.ErrUnavailable
		})
		if _, err := handover(t, a, "b"); !errors.Is(err, rebind.ErrUnknown) {
			t.Errorf("handover = %v, want it unknown: b was given the term and is gone", err)
		}
		select {
		case err := <-wrote:
			if err != nil {
				t.Errorf("write beside the announcement = %v, want it stored", err)
			}
		case <-time.After(2 * ttl):
			t.Error("the write is not answered though the term is over")
		}
		settle()
		if r, err := a.Read(); err != nil || r.View.Len() != 1 {
			t.Errorf("a reads %+v, %v, want what b has written", r, err)
		}
	})
}

// A node that stops without the answer to its announcement keeps nobody waiting, though
// its term lasts: it is left to lapse with the store that the node brings.
func TestAnnounce_StopKeepsNoCaller(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.server.Before(func(_ string, call memstore.Call) error {
			if call == memstore.CallAnnounce {
				return rebind.ErrUnavailable
			}
			return nil
		})
		a := l.start("a", modes.Auto, func(cfg *coordinator.Config) { cfg.OwnsStore = true })
		settle()
		wrote := committing(t, a, "entity/early")
		if err := a.Stop(); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-wrote:
			if err != nil {
				t.Errorf("write beside the announcement = %v, want it stored", err)
			}
		case <-time.After(time.Second):
			t.Error("the node has stopped and the write is not answered")
		}
	})
}

// A new master writes when it announces itself. Who led before it does not stand in its
// way, and is back in the election right after.
func TestHandover_OldMasterStandsOnceTheNewOneIsAnnounced(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, _ := pair(l)
		stands := func() bool {
			p, err := a.Plane(t.Context())
			m, live := p.Member("a")
			if err != nil || !live {
				t.Errorf("a is not in the plane: %v", err)
			}
			return m.Candidacy != 0
		}
		l.at("b", memstore.CallAnnounce, 1, func() error {
			pass(500 * time.Millisecond)
			if stands() {
				t.Error("a stands for election before b is announced")
			}
			return nil
		})
		if _, err := handover(t, a, "b"); err != nil {
			t.Fatal(err)
		}
		pass(100 * time.Millisecond)
		if !stands() {
			t.Error("a does not stand for election after b is announced")
		}
	})
}

// A store that fills up between a term's beginning and its announcement leaves nobody who
// leads without being MASTER.
func TestAnnounce_StoreFillsUpBeforeIt(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.server.Before(func(_ string, call memstore.Call) error {
			if call == memstore.CallAnnounce {
				l.server.Fill(true)
			}
			return nil
		})
		a := l.start("a", modes.Auto)
		settle()
		select {
		case err := <-committing(t, a, "entity/x"):
			if !errors.Is(err, driver.ErrStoreFull) {
				t.Errorf("write = %v, want no room for it", err)
			}
		default:
			t.Error("who has no room is not told so before the announcement")
		}
		if _, err := changeMode(t, a, modes.Standby); !errors.Is(err, driver.ErrStoreFull) {
			t.Errorf("change of mode = %v, want no room for it", err)
		}
		l.server.Before(func(string, memstore.Call) error { return nil })
		l.server.Fill(false)
		pass(30 * time.Second)
		l.want(map[string]modes.State{"a": modes.StateMaster})
		put(t, a, "entity/x", "1")
	})
}
