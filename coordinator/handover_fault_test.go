package coordinator_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/coordtest/memstore"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// at calls f when the node is about to make its nth such call, from now on.
func (l *lab) at(node string, call memstore.Call, nth int, f func() error) {
	var seen atomic.Int64
	l.server.Before(func(who string, what memstore.Call) error {
		if who == node && what == call && seen.Add(1) == int64(nth) {
			return f()
		}
		return nil
	})
}

func TestHandover_TargetDiesAtEachStep(t *testing.T) {
	cases := []struct {
		name   string
		node   string
		call   memstore.Call
		nth    int
		passed bool
	}{
		{"before it is offered", "a", memstore.CallOffer, 1, false},
		{"before it says that it is ready", "b", memstore.CallPublish, 1, false},
		{"before it is asked to draw level", "a", memstore.CallOffer, 2, false},
		{"before it says that it is level", "b", memstore.CallPublish, 2, false},
		{"before it is given the term", "a", memstore.CallPass, 1, false},
		{"before it announces itself", "b", memstore.CallAnnounce, 1, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				a, _ := pair(l)
				term := a.Status().Term
				l.at(c.node, c.call, c.nth, func() error {
					l.kill("b")
					return nil
				})
				began := time.Now()
				_, err := handover(t, a, "b")
				want := driver.ErrRefused
				if c.passed {
					want = rebind.ErrUnknown
				}
				if !errors.Is(err, want) || time.Since(began) > 5*time.Second {
					t.Errorf("handover = %v after %s, want %v", err, time.Since(began), want)
				}
				settle()
				s := a.Status()
				if s.State != modes.StateMaster || !s.Acting || (s.Term == term) == c.passed {
					t.Errorf("a is %s in term %d after %d", s.State, s.Term, term)
				}
				put(t, a, "entity/x", "1")
				if p, _ := a.Plane(t.Context()); p.Offer != nil {
					t.Errorf("offer %+v is left", p.Offer)
				}
				if left := l.left()["b"]; left.How != driver.DepartureLost {
					t.Errorf("left = %+v, want b lost", left)
				}
			})
		})
	}
}

// The target has its mirror complete when it says that it is ready, and then falls
// behind by one write.
func TestHandover_TargetBehindLeavesTheMasterLeading(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a := l.start("a", modes.Auto, func(cfg *coordinator.Config) {
			cfg.Lead = func(ctx context.Context, ld *coordinator.Leader) error {
				<-ctx.Done()
				l.server.Stall("b", true)
				_, err := ld.Commit(context.WithoutCancel(ctx), write("entity/late"))
				return err
			}
		})
		settle()
		b := l.start("b", modes.HotStandby)
		settle()
		term := a.Status().Term
		wrote := make(chan error, 1)
		l.at("a", memstore.CallOffer, 2, func() error { // writes are held from here on
			go func() {
				_, err := a.Commit(t.Context(), write("entity/meanwhile"))
				wrote <- err
			}()
			return nil
		})
		began := time.Now()
		_, err := handover(t, a, "b")
		if !errors.Is(err, driver.ErrRefused) || !contains(err.Error(), "b is behind") {
			t.Errorf("handover = %v, want it undone because b is behind", err)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("kept writes waiting for %s", took)
		}
		if err := <-wrote; err != nil {
			t.Errorf("a write during the handover: %v", err)
		}
		if s := a.Status(); !s.Acting || s.Term != term {
			t.Errorf("a: acting %t in term %d after %d", s.Acting, s.Term, term)
		}
		l.server.Stall("b", false)
		settle()
		if _, err := handover(t, a, "b"); err != nil && !contains(err.Error(), "behind") {
			t.Errorf("second handover = %v", err)
		}
		l.server.Stall("b", false)
		settle()
		if r, err := b.Read(); err != nil || r.View.Len() != 2 {
			t.Errorf("b reads %+v, %v", r, err)
		}
	})
}

func TestHandover_RefusesATargetThatIsLoading(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, _ := pair(l)
		l.server.Before(func(node string, call memstore.Call) error {
			if node == "c" && call == memstore.CallLoad {
				return rebind.ErrUnavailable
			}
			return nil
		})
		l.start("c", modes.HotStandby)
		settle()
		if _, err := handover(t, a, "c"); !errors.Is(err, driver.ErrRefused) || !contains(err.Error(), "INITIALIZING") {
			t.Errorf("handover = %v, want it refused for INITIALIZING", err)
		}
		l.server.Stall("b", true)
		put(t, a, "entity/x", "1")
		began := time.Now()
		if _, err := handover(t, a, "b"); !errors.Is(err, driver.ErrRefused) || !contains(err.Error(), "ready within 30s") {
			t.Errorf("handover = %v after %s, want b not ready in time", err, time.Since(began))
		}
		put(t, a, "entity/x", "2")
	})
}

func TestHandover_ColdTargetLoadsOnce(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		fullPlane(l)
		loads := 0
		l.server.Before(func(node string, call memstore.Call) error {
			if node == "c" && call == memstore.CallLoad {
				loads++
			}
			return nil
		})
		if _, err := handover(t, l.nodes["a"], "c"); err != nil {
			t.Fatal(err)
		}
		settle()
		if loads != 1 {
			t.Errorf("loaded %d times", loads)
		}
		h, err := l.nodes["c"].History(t.Context())
		if err != nil || h[0].Mementos != 1 || h[0].Reason != driver.ReasonHandover {
			t.Errorf("history = %+v, %v", h, err)
		}
	})
}

// committing has a write under way and returns where its outcome comes.
func committing(t *testing.T, r *running, name string) <-chan error {
	wrote := make(chan error, 1)
	go func() {
		_, err := r.Commit(t.Context(), write(name))
		wrote <- err
	}()
	pass(10 * time.Millisecond)
	return wrote
}

func TestHandover_SettlesWhatIsUnderWay(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := pair(l)
		l.at("a", memstore.CallCommit, 1, func() error {
			<-time.After(500 * time.Millisecond)
			return nil
		})
		wrote := committing(t, a, "entity/slow")
		if _, err := handover(t, a, "b"); err != nil {
			t.Fatal(err)
		}
		if err := <-wrote; err != nil {
			t.Errorf("the write under way: %v", err)
		}
		if r, err := b.Read(); err != nil || r.View.Len() != 1 {
			t.Errorf("b reads %+v, %v", r, err)
		}
	})
}

// Promise: until the term is passed the old master leads and resumes, also where it is
// not known what became of an offer.
func TestHandover_OfferInDoubtLeavesTheMasterLeading(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, _ := pair(l)
		term := a.Status().Term
		l.at("a", memstore.CallOffer, 2, func() error { return rebind.ErrUnknown })
		if _, err := handover(t, a, "b"); !errors.Is(err, driver.ErrRefused) || errors.Is(err, rebind.ErrUnknown) {
			t.Errorf("handover = %v, want it undone", err)
		}
		if s := a.Status(); !s.Acting || s.Term != term {
			t.Errorf("a is %s in term %d, want it to lead on in %d", s.State, s.Term, term)
		}
		put(t, a, "entity/x", "1")
	})
}

// The target says that it has all that was written before the offer. A write that the store
// takes after it has to be asked for again.
func TestHandover_TargetHasTheWriteThatCameAfterTheOffer(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, _ := pair(l)
		l.at("a", memstore.CallCommit, 1, func() error {
			<-time.After(500 * time.Millisecond) // the offer is there and answered
			l.server.Stall("b", true)
			return nil
		})
		wrote := committing(t, a, "entity/late")
		if _, err := handover(t, a, "b"); !errors.Is(err, driver.ErrRefused) {
			t.Errorf("handover = %v, want it undone: b does not have the last write", err)
		}
		if err := <-wrote; err != nil {
			t.Errorf("the write under way: %v", err)
		}
		if s := a.Status(); !s.Acting {
			t.Errorf("a is %s, want it to lead on", s.State)
		}
	})
}

// While nobody can tell whether the term has passed or is given up, its holder
// claims nothing.
func TestActing_EndsBeforeTheTermMayHaveEnded(t *testing.T) {
	for name, call := range map[string]memstore.Call{"handover": memstore.CallPass, "demotion": memstore.CallResign} {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				a, _ := pair(l)
				put(t, a, "entity/x", "1")
				asked := false
				l.at("a", call, 1, func() error {
					asked = true
					<-time.After(300 * time.Millisecond)
					reading, err := a.Read()
					if s := a.Status(); s.Acting || err != nil || reading.Staleness == 0 {
						t.Errorf("acting %t, staleness %s, %v while the term is in doubt", s.Acting, reading.Staleness, err)
					}
					return driver.ErrRefused
				})
				if name == "handover" {
					_, _ = handover(t, a, "b")
					if s := a.Status(); !s.Acting {
						t.Error("a does not act again after its handover was undone")
					}
				} else {
					_, _ = changeMode(t, a, modes.HotStandby)
				}
				if !asked {
					t.Error("nothing was in doubt")
				}
				if r, err := a.Read(); name == "handover" && (err != nil || r.Staleness != 0) {
					t.Errorf("staleness %s, %v, want none on a master", r.Staleness, err)
				}
			})
		})
	}
}

func TestChangeMode_NextOneWaitsForThePendingOne(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		fullPlane(l)
		c := l.nodes["c"]
		l.server.Cut("c")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.ChangeMode(ctx, modes.HotBackup); !errors.Is(err, coordinator.ErrPending) {
			t.Fatalf("first = %v", err)
		}
		time.AfterFunc(5*time.Second, func() { l.server.Heal("c") })
		change, err := changeMode(t, c, modes.Standby)
		want := coordinator.ModeChange{
			Mode: modes.Standby, PreviousMode: modes.HotBackup,
			State: modes.StateStandby, PreviousState: modes.StateHotBackup,
		}
		if err != nil || change != want {
			t.Errorf("second = %+v, %v, want %+v", change, err, want)
		}
	})
}
