package storetest

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator"
)

func pause(t *testing.T, lab Lab, p coordinator.Pause) {
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
func counted(answer func(coordinator.Plane) error) (coordinator.Bid, *atomic.Int64) {
	n := new(atomic.Int64)
	return coordinator.Bid{Consider: func(p coordinator.Plane) error {
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

func holdInPause(p coordinator.Plane) error {
	if p.Pause != nil {
		return coordinator.ErrHold
	}
	return nil
}

func pauseShows(t *testing.T, lab Lab) {
	since := time.Unix(100, 0).UTC()
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	pause(t, lab, coordinator.Pause{Since: since, Until: &until, By: "a"})
	if got := plane(t, lab).Pause; got == nil || !got.Since.Equal(since) || got.Until == nil || !got.Until.Equal(until) || got.By != "a" {
		t.Fatalf("pause = %+v", got)
	}
	pause(t, lab, coordinator.Pause{Since: since, By: "b"})
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
	pause(t, lab, coordinator.Pause{By: "operator"})
	willing, shown := counted(func(coordinator.Plane) error { return nil })
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
	pause(t, lab, coordinator.Pause{By: "operator"})
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
	pause(t, lab, coordinator.Pause{Until: &until, By: "operator"})
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
	polite, shown := counted(func(coordinator.Plane) error {
		if made.IsZero() {
			made = time.Now()
			return coordinator.ErrYield
		}
		return nil
	})
	dead, _ := counted(func(coordinator.Plane) error { return coordinator.ErrHold })
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
	if waited := time.Since(made); waited < coordinator.YieldFor || waited > 2*coordinator.YieldFor {
		t.Errorf("waited %s for the better one, want about %s", waited, coordinator.YieldFor)
	}
	if n := shown.Load(); n != 2 {
		t.Errorf("asked %d times, want twice", n)
	}
}

func callingOff(t *testing.T, lab Lab) {
	m := join(t, lab, "a")
	enough := errors.New("enough")
	bid, shown := counted(func(coordinator.Plane) error { return enough })
	if _, err := m.Campaign(limit(t), bid); !errors.Is(err, enough) || shown.Load() != 1 {
		t.Fatalf("campaign = %v after %d questions, want what Consider said the first time", err, shown.Load())
	}
	p := plane(t, lab)
	if got, _ := p.Member("a"); p.Held || got.Candidacy != 0 || p.ID != "" {
		t.Fatalf("plane = %+v, want no candidacy and no term", p)
	}
	elect(t, m)
}
