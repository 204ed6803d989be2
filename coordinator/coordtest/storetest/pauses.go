package storetest

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
)

func pause(t *testing.T, lab Lab, p driver.Pause) {
	t.Helper()
	if err := lab.Node("operator").Pause(limit(t), p); err != nil {
		t.Fatalf("pause: %v", err)
	}
}

func resume(t *testing.T, lab Lab) {
	t.Helper()
	if err := lab.Node("operator").Resume(limit(t)); err != nil {
		t.Fatalf("resume: %v", err)
	}
}

// counted returns a candidate that counts how often it was shown a plane.
func counted(answer func(driver.Plane) Decision) (Candidate, *atomic.Int64) {
	n := new(atomic.Int64)
	return Candidate{Decide: func(p driver.Plane) Decision {
		n.Add(1)
		return answer(p)
	}}, n
}

// asked waits until a candidate was shown a plane so many times.
func asked(t *testing.T, n *atomic.Int64, times int64) {
	t.Helper()
	eventually(t, func() error {
		if n.Load() < times {
			return errors.New("the candidate was not asked often enough")
		}
		return nil
	})
}

func holdInPause(p driver.Plane) Decision {
	if p.Pause != nil {
		return Hold
	}
	return Take
}

func pauseShows(t *testing.T, lab Lab) {
	since := time.Unix(100, 0).UTC()
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	pause(t, lab, driver.Pause{Since: since, Until: &until, By: "a"})
	if got := plane(t, lab).Pause; got == nil || !got.Since.Equal(since) || got.Until == nil || !got.Until.Equal(until) || got.By != "a" {
		t.Fatalf("pause = %+v", got)
	}
	pause(t, lab, driver.Pause{Since: since, By: "b"})
	if got := plane(t, lab).Pause; got == nil || got.Until != nil || got.By != "b" {
		t.Fatalf("pause = %+v, want the later one", got)
	}
	resume(t, lab)
	p := plane(t, lab)
	if p.Pause != nil {
		t.Fatalf("pause = %+v after resume", p.Pause)
	}
	resume(t, lab)
	if again := plane(t, lab); again.Revision != p.Revision {
		t.Errorf("resume without a pause made revision %d of %d", again.Revision, p.Revision)
	}
}

// The candidate here is content with the pause. It is the term's transaction that
// is not.
func pauseForbidsTerms(t *testing.T, lab Lab) {
	pause(t, lab, driver.Pause{By: "operator"})
	willing, shown := counted(func(driver.Plane) Decision { return Take })
	b := start(t, join(t, lab, "b"), willing)
	asked(t, shown, 1)
	ordered := Candidate{Jump: true, Conditions: with(driver.Conditions{InPause: true})}
	term, err := ordered.Lead(limit(t), join(t, lab, "c"))
	if err != nil {
		t.Fatalf("ordered, in a pause and behind another: %v", err)
	}
	if p := plane(t, lab); p.Holder.Node != "c" || p.Pause == nil {
		t.Fatalf("plane = %+v, want c to lead in a pause", p)
	}
	if err := term.Resign(limit(t), record("c")); err != nil {
		t.Fatal(err)
	}
	before := plane(t, lab)
	if before.Held {
		t.Fatalf("plane = %+v, want it vacant in a pause", before)
	}
	resume(t, lab)
	if _, err := b.wait(t); err != nil {
		t.Fatalf("after the pause: %v", err)
	}
	if p := plane(t, lab); p.Holder.Node != "b" {
		t.Errorf("holder = %+v, want b", p.Holder)
	}
}

func heldCandidateGoesOn(t *testing.T, lab Lab) {
	pause(t, lab, driver.Pause{By: "operator"})
	holding, shown := counted(holdInPause)
	b := start(t, join(t, lab, "b"), holding)
	asked(t, shown, 1)
	queued(t, lab, "b")
	before := plane(t, lab)
	resume(t, lab)
	term, err := b.wait(t)
	if err != nil {
		t.Fatal(err)
	}
	if term.Revision() <= before.Revision {
		t.Errorf("term began at %d, before the pause ended after %d", term.Revision(), before.Revision)
	}
	if m, _ := before.Member("b"); term.Number() != int64(m.Candidacy) {
		t.Errorf("term %d, want that of the candidacy %d: who holds keeps its place", term.Number(), m.Candidacy)
	}
}

func pauseLapses(t *testing.T, lab Lab) {
	until := time.Now().Add(time.Second)
	pause(t, lab, driver.Pause{Until: &until, By: "operator"})
	holding, shown := counted(holdInPause)
	b := start(t, join(t, lab, "b"), holding)
	asked(t, shown, 1)
	if _, err := b.wait(t); err != nil {
		t.Fatal(err)
	}
	if time.Now().Before(until) {
		t.Error("the pause ended too early")
	}
	if p := plane(t, lab); p.Pause != nil {
		t.Errorf("pause = %+v", p.Pause)
	}
	if n := shown.Load(); n > 10 {
		t.Errorf("asked %d times in a pause in which nothing happened", n)
	}
}

// Somebody better stands first and does nothing. A candidate that made way for it need not
// wait for ever.
func makingWayForTheDead(t *testing.T, lab Lab) {
	var made atomic.Bool
	polite, forward, shown := stepper(func(driver.Plane) Decision {
		if made.CompareAndSwap(false, true) {
			return MakeWay
		}
		return Take
	})
	dead, asleep := counted(func(driver.Plane) Decision { return Hold })
	master := elect(t, join(t, lab, "a"))
	b := start(t, join(t, lab, "b"), polite)
	queued(t, lab, "b")
	start(t, join(t, lab, "c"), dead)
	queued(t, lab, "c")
	if err := master.Resign(limit(t), record("a")); err != nil {
		t.Fatal(err)
	}
	asked(t, asleep, 1)
	queued(t, lab, "b")
	forward <- struct{}{}
	if _, err := b.wait(t); err != nil {
		t.Fatal(err)
	}
	if n := shown.Load(); n != 2 {
		t.Errorf("asked %d times, want twice", n)
	}
}

func deferring(t *testing.T, lab Lab) {
	polite, shown := counted(func(driver.Plane) Decision { return Take })
	var once atomic.Bool
	polite.Defer = func(int64) bool { return once.CompareAndSwap(false, true) }
	master := elect(t, join(t, lab, "a"))
	b := start(t, join(t, lab, "b"), polite)
	queued(t, lab, "b")
	c := start(t, join(t, lab, "c"), Candidate{})
	queued(t, lab, "c")
	if err := master.Resign(limit(t), record("a")); err != nil {
		t.Fatal(err)
	}
	term, err := c.wait(t)
	if err != nil || shown.Load() != 0 {
		t.Fatalf("term of c: %v; b was shown the plane %d times", err, shown.Load())
	}
	if err := term.Resign(limit(t), record("c")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.wait(t); err != nil {
		t.Fatal(err)
	}
}

// stepper returns a candidate that can be told to step forward.
func stepper(answer func(driver.Plane) Decision) (Candidate, chan struct{}, *atomic.Int64) {
	as, shown := counted(answer)
	forward := make(chan struct{}, 1)
	as.Forward = forward
	return as, forward, shown
}

// Whoever is first in the queue does nothing here, and would be waited for.
func steppingForward(t *testing.T, lab Lab) {
	first, _ := counted(func(driver.Plane) Decision { return Hold })
	master := elect(t, join(t, lab, "a"))
	start(t, join(t, lab, "b"), first)
	queued(t, lab, "b")
	as, forward, shown := stepper(func(p driver.Plane) Decision {
		if p.Held {
			t.Errorf("considered a plane that is not vacant: %+v", p)
		}
		return Take
	})
	c := start(t, join(t, lab, "c"), as)
	queued(t, lab, "c")
	forward <- struct{}{} // too early
	eventually(t, func() error {
		if len(forward) > 0 {
			return errors.New("not heeded")
		}
		return nil
	})
	if err := master.Resign(limit(t), record("a")); err != nil {
		t.Fatal(err)
	}
	forward <- struct{}{}
	if _, err := c.wait(t); err != nil {
		t.Fatal(err)
	}
	if p := plane(t, lab); p.Holder.Node != "c" || shown.Load() != 1 {
		t.Errorf("term of %s, c was asked %d times, want the term of c, asked once", p.Holder.Node, shown.Load())
	}
}

func steppingBack(t *testing.T, lab Lab) {
	first, _ := counted(func(driver.Plane) Decision { return Hold })
	master := elect(t, join(t, lab, "a"))
	b := start(t, join(t, lab, "b"), first)
	queued(t, lab, "b")
	var once atomic.Bool
	as, forward, shown := stepper(func(driver.Plane) Decision {
		if once.CompareAndSwap(false, true) {
			return MakeWay
		}
		return Take
	})
	c := start(t, join(t, lab, "c"), as)
	queued(t, lab, "c")
	p := plane(t, lab)
	before, _ := p.Member("c")
	if err := master.Resign(limit(t), record("a")); err != nil {
		t.Fatal(err)
	}
	forward <- struct{}{}
	asked(t, shown, 1)
	b.cancel() // and now it is the turn of c
	term, err := c.wait(t)
	if err != nil {
		t.Fatal(err)
	}
	if term.Number() != int64(before.Candidacy) {
		t.Errorf("term %d, want that of the candidacy %d", term.Number(), before.Candidacy)
	}
}

func quitting(t *testing.T, lab Lab) {
	m := join(t, lab, "a")
	as, shown := counted(func(driver.Plane) Decision { return Quit })
	if _, err := as.Lead(limit(t), m); !errors.Is(err, ErrQuit) || shown.Load() != 1 {
		t.Fatalf("candidate ends with %v after %d questions, want that it quits after one", err, shown.Load())
	}
	p := plane(t, lab)
	if got, _ := p.Member("a"); p.Held || got.Candidacy != 0 || p.ID != "" {
		t.Fatalf("plane = %+v, want no candidacy and no term", p)
	}
	elect(t, m)
}
