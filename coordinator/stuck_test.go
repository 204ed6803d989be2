package coordinator_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/coordinator/coordtest/memstore"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// errDenied is what a store says that does not let one node do one thing.
var errDenied = fmt.Errorf("%w: not this key", driver.ErrDenied)

// deny keeps some nodes from some calls.
func (l *lab) deny(nodes string, calls ...memstore.Call) {
	l.server.Before(func(node string, call memstore.Call) error {
		if slices.Contains(calls, call) && contains(nodes, node) {
			return errDenied
		}
		return nil
	})
}

// queue makes a plane of a master a and of b, c and more, who stand in that order.
func queue(l *lab, more ...string) (b, c *running) {
	l.start("a", modes.Auto)
	settle()
	b = l.start("b", modes.Auto, func(cfg *coordinator.Config) { cfg.Priority = 1 })
	settle()
	c = l.start("c", modes.Auto)
	settle()
	for _, id := range more {
		l.start(id, modes.Auto)
		settle()
	}
	return b, c
}

// led waits until a node is MASTER and returns how long that took, or fails.
func (l *lab) led(id string, within time.Duration) time.Duration {
	l.t.Helper()
	for began := time.Now(); ; pass(100 * time.Millisecond) {
		took := time.Since(began)
		if l.nodes[id].Status().State == modes.StateMaster {
			return took
		}
		if took > within {
			p := l.nodes[id].CachedPlane()
			l.t.Fatalf("%s does not lead after %s: %v, term of %s, held: %t", id, took, l.states(), p.Holder.Node, p.Held)
		}
	}
}

// Whatever keeps one node from leading, another one leads: within TTL + 3 s of the moment
// at which it was that node's turn, or of a lapse more where it cannot even give up its key.
func TestStuck_AnotherNodeLeads(t *testing.T) {
	const limit, little = ttl + 3*time.Second, 3 * time.Second
	for _, test := range []struct {
		name    string
		within  time.Duration
		breakIt func(l *lab)
		says    string // b's last error, empty if it has nothing to say
	}{
		{"it may not begin a term", limit, func(l *lab) { l.deny("b", memstore.CallClaim) }, "denies"},
		{"nor give its candidacy up", limit, func(l *lab) { l.deny("b", memstore.CallClaim, memstore.CallWithdraw) }, "denies"},
		{"it may not announce itself", limit, func(l *lab) { l.deny("b", memstore.CallAnnounce) }, "denies"},
		{"nor give its term up", limit + ttl, func(l *lab) { l.deny("b", memstore.CallAnnounce, memstore.CallResign) }, "denies"},
		{"it gets no state", limit, func(l *lab) { l.server.Stall("b", true) }, "state has not arrived"},
		{"it hears nothing but that its lease is renewed", limit, func(l *lab) { l.server.Starve("b", true) }, ""},
		{"and that only since it was elected", limit + ttl, func(l *lab) {
			l.at("b", memstore.CallAnnounce, 1, func() error { l.server.Starve("b", true); return rebind.ErrUnavailable })
		}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				b, _ := queue(l)
				put(t, l.nodes["a"], "entity/x", "1")
				settle()
				test.breakIt(l)
				l.kill("a")
				took := l.led("c", test.within+little)
				t.Logf("c led after %s", took)
				pass(2 * limit)
				if s := b.Status(); s.State == modes.StateMaster || !contains(s.LastError, test.says) {
					t.Errorf("b is %s and says %q", s.State, s.LastError)
				}
				l.server.Before(func(string, memstore.Call) error { return nil })
				l.server.Stall("b", false)
				l.server.Starve("b", false)
				pass(2 * limit)
				if s := b.Status(); s.State != modes.StateHotStandby || !s.InElection {
					t.Errorf("b is %s in the end, in the election: %t", s.State, s.InElection)
				}
			})
		})
	}
}

// Two that cannot finish do not take turns before the third, who can.
func TestStuck_TwoDoNotKeepOutTheThird(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		queue(l, "d")
		l.deny("b c", memstore.CallAnnounce)
		l.kill("a")
		l.led("d", 3*(ttl+3*time.Second))
	})
}

// A node that is alone tries for as long as it takes, and leads as soon as it may.
func TestStuck_TheOnlyCandidateGoesOnTrying(t *testing.T) {
	for _, call := range []memstore.Call{memstore.CallClaim, memstore.CallAnnounce} {
		t.Run(string(call), func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				l.deny("a", call)
				a := l.start("a", modes.Auto)
				pass(2 * time.Minute)
				if s := a.Status(); s.State == modes.StateMaster || s.State == modes.StateFailed || !contains(s.LastError, "denies") {
					t.Fatalf("a is %s and says %q", s.State, s.LastError)
				}
				l.deny("a")
				l.led("a", 5*time.Second)
				if s := a.Status(); s.LastError != "" {
					t.Errorf("a leads and says %q", s.LastError)
				}
			})
		})
	}
}

// An operator who cannot wait orders another node to lead.
func TestStuck_AnotherNodeLeadsByOrder(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		_, c := queue(l)
		l.deny("b", memstore.CallClaim)
		l.kill("a")
		pass(500 * time.Millisecond)
		if _, err := changeMode(t, c, modes.Master); err != nil {
			t.Fatal(err)
		}
		l.led("c", 0)
	})
}

// One who is ordered to lead and cannot announce itself says so, and keeps its mode.
func TestStuck_AnOrderIsRefusedInTheEnd(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a := l.start("a", modes.HotBackup)
		settle()
		l.deny("a", memstore.CallAnnounce)
		_, err := changeMode(t, a, modes.Master)
		if s := a.Status(); !errors.Is(err, driver.ErrRefused) || s.Mode != modes.HotBackup {
			t.Errorf("order = %v, and the mode is %s", err, s.Mode)
		}
	})
}

// A handover to a node that cannot announce itself ends with another master.
func TestStuck_HandoverToWhoCannotFinish(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		queue(l)
		l.deny("b", memstore.CallAnnounce)
		_, err := handover(t, l.nodes["a"], "b")
		if err == nil {
			t.Fatal("b has announced itself")
		}
		pass(10 * time.Second)
		if m := l.master(); m != l.nodes["a"] && m != l.nodes["c"] {
			t.Errorf("states = %v", l.states())
		}
	})
}

// Keys in the election that are nobody's keep nobody from leading, at the first start and
// when a master dies.
func TestStray_KeepsNobodyFromLeading(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.server.Stray("nobody")
		l.start("a", modes.Auto)
		l.led("a", 5*time.Second)
		l.server.Stray("nobody else")
		b := l.start("b", modes.Auto)
		settle()
		p, err := b.Plane(t.Context())
		if err != nil || len(p.Strays) != 2 {
			t.Errorf("strays = %+v, %v", p.Strays, err)
		}
		l.kill("a")
		l.led("b", 6*time.Second)
	})
}

// A master whose own key in the election was written over, so that it would outlive it,
// leads no more, and the key does not count as that of a master.
func TestStray_InThePlaceOfTheMasters(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		pair(l)
		l.server.Stray("a")
		pass(10 * time.Second)
		first := l.master()
		l.server.Stray(first.Status().ID)
		pass(10 * time.Second)
		l.master()
	})
}

// A term record that was edited to a number from which terms cannot rise is garbled, and
// terms go on above all that was known.
func TestTerm_NumbersThatCannotRise(t *testing.T) {
	for _, number := range []int64{0, -1, 1<<63 - 1, 1<<63 - 2, driver.MaxTerm + 1} {
		t.Run(fmt.Sprint(number), func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				a, b := pair(l)
				for i := range 20 {
					put(t, a, fmt.Sprintf("entity/x%d", i), "1")
				}
				settle()
				before, at := a.Status().Term, l.server.Revision()
				l.server.EditTerm(number)
				settle()
				if after := l.master().Status().Term; after <= max(before, int64(at)) || after > int64(at)+20 {
					t.Errorf("term %d at revision %d is followed by term %d", before, at, after)
				}
				if p, err := b.Plane(t.Context()); err != nil || p.Strays != nil {
					t.Errorf("strays = %+v, %v, once there is a term again", p.Strays, err)
				}
			})
		})
	}
}

// A pause is over when it says so, though its key is still there: for who waits in the
// election, who sees it and who looks.
func TestPause_IsOverAtItsEnd(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		pair(l)
		l.pause("a", time.Minute)
		l.kill("a")
		pass(57900 * time.Millisecond)
		if s := l.nodes["b"].Status().State; s != modes.StateHotStandby {
			t.Fatalf("b is %s in the pause", s)
		}
		pass(200 * time.Millisecond)
		if s := l.nodes["b"].Status().State; s != modes.StateMaster {
			t.Errorf("b is %s after the pause", s)
		}
		l.server.Heal("a")
		l.pause("b", time.Minute)
		pass(time.Minute)
		read, err := l.nodes["b"].Plane(t.Context())
		if seen := l.nodes["b"].CachedPlane(); err != nil || read.Pause != nil || seen.Pause != nil {
			t.Errorf("pause = %+v, seen as %+v, %v", read.Pause, seen.Pause, err)
		}
	})
}
