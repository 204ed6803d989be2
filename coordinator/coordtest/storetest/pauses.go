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

// counted has the bid count how often it was shown a plane.
func counted(answer func(driver.Plane) error) (driver.Bid, *atomic.Int64) {
	n := new(atomic.Int64)
	return driver.Bid{Consider: func(p driver.Plane) error {
		n.Add(1)
		return answer(p)
	}}, n
}

// asked waits until a bid was shown a plane so many times.
func asked(t *testing.T, n *atomic.Int64, times int64) {
	t.Helper()
	eventually(t, func() error {
		if n.Load() < times {
			return errors.New("the candidate was not asked often enough")
		}
		return nil
	})
}

func holdInPause(p driver.Plane) error {
	if p.Pause != nil {
		return driver.ErrHold
	}
	return nil
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
	willing, shown := counted(func(driver.Plane) error { return nil })
	b := start(t, join(t, lab, "b"), willing)
	asked(t, shown, 1)
	ordered := always()
	ordered.Ordered = true
	term, err := join(t, lab, "c").Campaign(limit(t), ordered)
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
	patient, shown := counted(holdInPause)
	b := start(t, join(t, lab, "b"), patient)
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
	patient, shown := counted(holdInPause)
	b := start(t, join(t, lab, "b"), patient)
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

// Somebody better stands first and does nothing: who made way for it does not wait
// for ever.
func makingWayForTheDead(t *testing.T, lab Lab) {
	var made time.Time
	polite, shown := counted(func(driver.Plane) error {
		if made.IsZero() {
			made = time.Now()
			return driver.ErrYield
		}
		return nil
	})
	dead, _ := counted(func(driver.Plane) error { return driver.ErrHold })
	master := elect(t, join(t, lab, "a"))
	b := start(t, join(t, lab, "b"), polite)
	queued(t, lab, "b")
	start(t, join(t, lab, "c"), dead)
	queued(t, lab, "c")
	if err := master.Resign(limit(t), record("a")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.wait(t); err != nil {
		t.Fatal(err)
	}
	if waited := time.Since(made); waited < driver.YieldFor || waited > 2*driver.YieldFor {
		t.Errorf("waited %s for the better one, want about %s", waited, driver.YieldFor)
	}
	if n := shown.Load(); n != 2 {
		t.Errorf("asked %d times, want twice", n)
	}
}

func deferring(t *testing.T, lab Lab) {
	bid, shown := counted(func(driver.Plane) error { return nil })
	var once atomic.Bool
	bid.Defer = func(int64) bool { return once.CompareAndSwap(false, true) }
	master := elect(t, join(t, lab, "a"))
	b := start(t, join(t, lab, "b"), bid)
	queued(t, lab, "b")
	c := start(t, join(t, lab, "c"), always())
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

// stepper is a bid that can be had to step forward.
func stepper(answer func(driver.Plane) error) (driver.Bid, chan struct{}, *atomic.Int64) {
	bid, shown := counted(answer)
	forward := make(chan struct{}, 1)
	bid.Forward = forward
	return bid, forward, shown
}

// Whoever is first in the queue does nothing here, and would be waited for.
func steppingForward(t *testing.T, lab Lab) {
	first, _ := counted(func(driver.Plane) error { return driver.ErrHold })
	master := elect(t, join(t, lab, "a"))
	start(t, join(t, lab, "b"), first)
	queued(t, lab, "b")
	bid, forward, shown := stepper(func(p driver.Plane) error {
		if p.Held {
			t.Errorf("considered a plane that is not vacant: %+v", p)
		}
		return nil
	})
	c := start(t, join(t, lab, "c"), bid)
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
	first, _ := counted(func(driver.Plane) error { return driver.ErrHold })
	master := elect(t, join(t, lab, "a"))
	b := start(t, join(t, lab, "b"), first)
	queued(t, lab, "b")
	var once atomic.Bool
	bid, forward, shown := stepper(func(driver.Plane) error {
		if once.CompareAndSwap(false, true) {
			return driver.ErrYield
		}
		return nil
	})
	c := start(t, join(t, lab, "c"), bid)
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

func callingOff(t *testing.T, lab Lab) {
	m := join(t, lab, "a")
	enough := errors.New("enough")
	bid, shown := counted(func(driver.Plane) error { return enough })
	if _, err := m.Campaign(limit(t), bid); !errors.Is(err, enough) || shown.Load() != 1 {
		t.Fatalf("campaign = %v after %d questions, want what Consider said the first time", err, shown.Load())
	}
	p := plane(t, lab)
	if got, _ := p.Member("a"); p.Held || got.Candidacy != 0 || p.ID != "" {
		t.Fatalf("plane = %+v, want no candidacy and no term", p)
	}
	elect(t, m)
}
