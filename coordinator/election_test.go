package coordinator_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/internal/policy"
	"github.com/coordinator-ha/coordinator/modes"
)

func TestElection_TwentyWithinTwentyMilliseconds(t *testing.T) {
	for seed := range uint64(50) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				r := rand.New(rand.NewPCG(seed, 0))
				for i := range 20 {
					l.start(fmt.Sprintf("n%02d", i), modes.Auto, func(c *coordinator.Config) {
						c.Priority = r.IntN(3) - 2
						c.ColdStandby = r.IntN(4) == 0
						c.Version = []string{"1.0.0", "1.1.0-rc.1", "devel"}[r.IntN(3)]
					})
					pass(time.Duration(r.IntN(1000)) * time.Microsecond)
				}
				settle()
				m := l.master()
				put(t, m, "entity/x", "1")
				settled := 0
				for _, s := range l.states() {
					if s == modes.StateHotStandby || s == modes.StateStandby {
						settled++
					}
				}
				if settled != 19 {
					t.Fatalf("states = %v, want 19 standing by", l.states())
				}
				h, err := m.History(t.Context())
				if err != nil || len(h) != 1 {
					t.Errorf("history = %+v, %v, want one term", h, err)
				}
				// The best of those that are left is named, and is the one that follows.
				next, why := policy.Next(m.CachedPlane())
				l.kill(m.Status().ID)
				pass(ttl)
				if s := l.nodes[next].Status().State; s != modes.StateMaster {
					t.Errorf("%s was to follow (%s) and is %s", next, why, s)
				}
			})
		})
	}
}

func TestElection_BetterButDeadCandidateCostsASecond(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		pair(l)
		for _, id := range []string{"x", "y"} {
			l.start(id, modes.HotStandby, func(c *coordinator.Config) { c.Priority = 9 })
			settle()
			l.server.Cut(id) // its lease lives on for a while
		}
		l.kill("a")
		vacant := time.Now()
		b := l.nodes["b"]
		for b.Status().State != modes.StateMaster && time.Since(vacant) < time.Minute {
			pass(10 * time.Millisecond)
		}
		if gap := time.Since(vacant); gap > policy.YieldFor+200*time.Millisecond {
			t.Errorf("no master for %s", gap)
		}
		if p := b.CachedPlane(); len(p.Members) < 2 {
			t.Errorf("members = %v, want the dead ones still there, or nothing was shown", p.Members)
		}
	})
}

// The one that is first in the queue may be away when the term falls vacant. The
// master has named the next, and that one waits for nobody.
func TestElection_TheNextStepsForward(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, _ := pair(l) // b is first in the queue
		l.start("c", modes.HotStandby, func(c *coordinator.Config) { c.Priority = 9 })
		settle()
		p := a.CachedPlane()
		if m, _ := p.Master(); m.Next != "c" {
			t.Fatalf("a names %q as the next, want c", m.Next)
		}
		l.server.Cut("b") // its lease lives on for a while
		l.kill("a")
		pass(100 * time.Millisecond)
		if s := l.nodes["c"].Status().State; s != modes.StateMaster {
			t.Errorf("c is %s: it waits for b", s)
		}
	})
}
