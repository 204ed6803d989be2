package coordinator_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/coordtest/memstore"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/policy"
	"github.com/coordinator-ha/coordinator/modes"
)

// soon is how long it takes at most until a node of a small plane knows the others.
const soon = 6 * time.Second

// watched is a store that tells what its node asks of it, and how large the plane
// is: as large as it is, or as large as it says.
type watched struct {
	driver.Store
	size int           // 0: as it is
	slow time.Duration // how long it takes until everything is followed

	mu       sync.Mutex // guards the fields below
	followed []string   // for whom the plane was followed
	reads    int
}

func (w *watched) Size(ctx context.Context) (int, error) {
	n, err := w.Store.Size(ctx)
	return max(n, w.size), err
}

func (w *watched) Plane(ctx context.Context) (driver.Plane, error) {
	w.mu.Lock()
	w.reads++
	w.mu.Unlock()
	return w.Store.Plane(ctx)
}

func (w *watched) Follow(ctx context.Context, see func(driver.Plane)) error {
	w.note("")
	select {
	case <-time.After(w.slow):
	case <-ctx.Done():
	}
	return w.Store.Follow(ctx, see)
}

func (w *watched) FollowNear(ctx context.Context, node string, see func(driver.NearPlane)) error {
	w.note(node)
	return w.Store.FollowNear(ctx, node, see)
}

func (w *watched) note(node string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.followed = append(w.followed, node)
}

// seen returns for whom the plane was followed so far, and how often it was read.
func (w *watched) seen() (followed string, reads int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Sprintf("%q", w.followed), w.reads
}

// watchAll has the stores of all nodes watched.
func (l *lab) watchAll(size int, slow time.Duration) map[string]*watched {
	all := make(map[string]*watched)
	l.plane.Wrap = func(connection string, s driver.Store) driver.Store {
		all[connection] = &watched{Store: s, size: size, slow: slow}
		return all[connection]
	}
	return all
}

// roll tells who is in a plane and leads it, in order.
func roll(p driver.Plane) string {
	text := ""
	for _, m := range p.Members {
		text += m.ID + " "
		if m.State == modes.StateMaster {
			text += "leads "
		}
	}
	return text
}

// Promise: only who leads follows everybody's changes.
func TestScope_OnlyTheMasterFollowsTheWholePlane(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		stores := l.watchAll(0, 0)
		a, b := pair(l)
		want := func(id, followed string) {
			t.Helper()
			if got, _ := stores[id].seen(); got != followed {
				t.Errorf("%s followed the plane for %s, want for %s", id, got, followed)
			}
		}
		want("a", `["a" ""]`)
		want("b", `["b"]`)
		if _, err := handover(t, a, "b"); err != nil {
			t.Fatal(err)
		}
		pass(10 * time.Second)
		want("a", `["a" ""]`) // it may soon lead again
		want("b", `["b" ""]`)
		pass(time.Minute)
		want("a", `["a" "" "a"]`)
		want("b", `["b" ""]`)
		if _, err := handover(t, b, "a"); err != nil { // and sees at once who is ready
			t.Fatal(err)
		}
		settle()
		want("a", `["a" "" "a" ""]`)
	})
}

// Promise: a node leads before it sees the whole plane. Only a handover waits for
// that, and who has left with a word is not taken to have vanished.
func TestScope_IsNotWaitedForByAPromotion(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.watchAll(0, 10*time.Second)
		a := l.start("a", modes.Auto)
		pass(time.Second)
		b := l.start("b", modes.HotStandby)
		pass(time.Second)
		l.want(map[string]modes.State{"a": modes.StateMaster, "b": modes.StateHotStandby})
		began := time.Now()
		if _, err := handover(t, a, "b"); err != nil {
			t.Fatalf("handover by a master that does not see the others yet: %v", err)
		}
		if took := time.Since(began); took < 7*time.Second || took > 11*time.Second {
			t.Errorf("handed over within %s, want it to wait until it sees the others", took)
		}
		pass(20 * time.Second)
		if _, err := handover(t, b, "a"); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute) // b no longer follows the whole plane
		var recorded atomic.Bool
		l.server.Before(func(node string, call memstore.Call) error {
			if call == memstore.CallRecordDeparture {
				recorded.Store(true)
			}
			return nil
		})
		l.pause("a", 0) // so that it hands nothing over
		if err := a.Stop(); err != nil {
			t.Fatal(err)
		}
		l.resume("b")
		pass(time.Second)
		if s := b.Status().State; s != modes.StateMaster {
			t.Errorf("b is %s", s)
		}
		pass(20 * time.Second)
		if recorded.Load() {
			t.Error("a stopped, and was taken to have vanished")
		}
	})
}

// Promise: what a node costs does not grow with the plane.
func TestScope_PollsLessOftenTheLargerThePlane(t *testing.T) {
	for size, per := range map[int]time.Duration{0: 5 * time.Second, 200: 20 * time.Second, 2000: 200 * time.Second} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				stores := l.watchAll(size, 0)
				pair(l)
				_, leader := stores["a"].seen()
				_, before := stores["b"].seen()
				pass(20 * per)
				if _, reads := stores["b"].seen(); reads-before < 19 || reads-before > 41 {
					t.Errorf("%d reads in %s, want one in %s to %s", reads-before, 20*per, per/2, per)
				}
				if _, reads := stores["a"].seen(); reads != leader {
					t.Errorf("the master has read the plane %d times, and follows it", reads-leader)
				}
			})
		})
	}
}

func TestCachedPlane_ShowsTheOthersSoon(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := pair(l)
		l.start("c", modes.HotBackup)
		pass(soon)
		for _, n := range []*running{a, b, l.nodes["c"]} {
			if p := n.CachedPlane(); roll(p) != "a leads b c " {
				t.Errorf("%s sees %s", n.Status().ID, roll(p))
			}
		}
		if next, _ := policy.Next(b.CachedPlane()); next != "b" {
			t.Errorf("b would name %q as the next, want itself", next)
		}
		if err := l.nodes["c"].Stop(); err != nil {
			t.Fatal(err)
		}
		pass(soon)
		if p := b.CachedPlane(); roll(p) != "a leads b " || len(p.Departed) != 1 || p.Departed[0].ID != "c" {
			t.Errorf("b sees %s, left %+v", roll(p), p.Departed)
		}
	})
}

// A node that looks at the others but now and then never shows two that lead.
func TestCachedPlane_ShowsOneMaster(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, _ := pair(l)
		c := l.start("c", modes.HotBackup)
		pass(soon)
		if _, err := handover(t, a, "b"); err != nil {
			t.Fatal(err)
		}
		pass(time.Millisecond)
		if p := c.CachedPlane(); roll(p) != "b leads c " {
			t.Errorf("right after the handover c sees %s", roll(p))
		}
		pass(soon)
		if p := c.CachedPlane(); roll(p) != "a b leads c " {
			t.Errorf("c sees %s", roll(p))
		}
		l.kill("b")
		pass(time.Millisecond)
		if p := c.CachedPlane(); roll(p) != "a c " && roll(p) != "a leads c " {
			t.Errorf("right after the death of b c sees %s", roll(p))
		}
	})
}

// A master that came and went between two looks at the others is not shown to live.
func TestCachedPlane_ShowsNoMasterThatDied(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, _ := pair(l)
		c := l.start("c", modes.HotBackup)
		pass(soon)
		if _, err := handover(t, a, "b"); err != nil {
			t.Fatal(err)
		}
		pass(time.Millisecond) // c sees that b leads
		l.kill("b")
		pass(time.Millisecond)
		if p := c.CachedPlane(); roll(p) != "a leads c " {
			t.Errorf("c sees %s", roll(p))
		}
	})
}

// Promise: a node that vanished is named, also if the master vanished with it.
func TestLeft_TwoThatVanishAtOnce(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		fullPlane(l)
		pass(soon)
		if err := l.nodes["d"].Stop(); err != nil {
			t.Fatal(err)
		}
		l.kill("c")
		l.kill("a")
		settle()
		if s := l.nodes["b"].Status().State; s != modes.StateMaster {
			t.Fatalf("b is %s", s)
		}
		left := l.left()
		if a, c := left["a"], left["c"]; a.Was != modes.StateMaster || a.How != driver.DepartureLost ||
			c.Was != modes.StateStandby || c.How != driver.DepartureLost {
			t.Errorf("left = %+v, want a and c lost", left)
		}
		if d := left["d"]; d.How != driver.DepartureStopped {
			t.Errorf("d = %+v, want it stopped", d)
		}
	})
}
