package storetest

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
)

// strays waits until the plane names so many keys that are nobody's.
func strays(t *testing.T, lab Lab, count int) {
	t.Helper()
	eventually(t, func() error {
		if found := plane(t, lab).Strays; len(found) != count {
			return errors.New("not the stray keys that were put there")
		}
		return nil
	})
}

func strayIsPassedOver(t *testing.T, lab Lab) {
	lab.Stray("nobody")
	as, forward, _ := stepper(func(driver.Plane) Decision { return Take })
	b := start(t, join(t, lab, "b"), as)
	queued(t, lab, "b")
	p := plane(t, lab)
	if len(p.Strays) != 1 || p.Strays[0].Key == "" || p.Strays[0].Why == "" {
		t.Errorf("strays = %+v", p.Strays)
	}
	forward <- struct{}{}
	term, err := b.wait(t)
	if err != nil {
		t.Fatal(err)
	}
	commit(t, term, "op", nil)
	strays(t, lab, 1)
	if err := term.Resign(limit(t), record("b")); err != nil {
		t.Fatal(err)
	}
	alone, forward, _ := stepper(func(driver.Plane) Decision { return Take })
	alone.Conditions = with(driver.Conditions{Alone: true})
	again := start(t, join(t, lab, "a"), alone)
	lab.Revoke("b")
	queued(t, lab, "a")
	forward <- struct{}{}
	if _, err := again.wait(t); err != nil {
		t.Errorf("beside a stray key nobody is alone: %v", err)
	}
}

func strayCandidate(t *testing.T, lab Lab) {
	master := elect(t, join(t, lab, "a"))
	b := start(t, join(t, lab, "b"), Candidate{})
	queued(t, lab, "b")
	lab.Stray("b")
	if err := master.Resign(limit(t), record("a")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.wait(t); err != nil {
		t.Fatal(err)
	}
	if p := plane(t, lab); !p.Held || p.Holder.Node != "b" || p.Strays != nil {
		t.Errorf("plane = %+v, want b to hold the term by a key of its own", p)
	}
}

func strayHolder(t *testing.T, lab Lab) {
	master := elect(t, join(t, lab, "a"))
	as, forward, _ := stepper(func(driver.Plane) Decision { return Take })
	b := start(t, join(t, lab, "b"), as)
	queued(t, lab, "b")
	lab.Stray("a")
	if err := master.Announce(limit(t), record("a"), driver.HistoryEntry{Term: master.Number()}); err == nil {
		<-time.After(watched)
	}
	over(t, master)
	lab.Revoke("a")
	if p := plane(t, lab); p.Held || len(p.Strays) != 1 {
		t.Fatalf("plane = %+v, want a term that nobody holds, and a stray key", p)
	}
	forward <- struct{}{}
	if _, err := b.wait(t); err != nil {
		t.Fatal(err)
	}
}

// watched is by when a term is watched.
const watched = 200 * time.Millisecond

func garbledTerm(t *testing.T, lab Lab) {
	a := join(t, lab, "a")
	for _, number := range []int64{math.MaxInt64, math.MaxInt64 - 1, driver.MaxTerm + 1, 0, -1} {
		master := elect(t, a)
		lab.EditTerm(number)
		before := plane(t, lab)
		if before.Holder.Term != 0 || before.Held || len(before.Strays) != 1 {
			t.Fatalf("plane = %+v, want no term, and the record named", before)
		}
		over(t, master)
		lab.DeleteCandidate("a")
		next := elect(t, a)
		if n := next.Number(); n <= master.Number() || n <= int64(before.Revision) {
			t.Errorf("term %d is followed by term %d at revision %d", master.Number(), n, before.Revision)
		}
		if err := next.Resign(limit(t), record("a")); err != nil {
			t.Fatal(err)
		}
	}
}

func pauseIsOver(t *testing.T, lab Lab) {
	until := time.Now().Add(300 * time.Millisecond)
	pause(t, lab, driver.Pause{Until: &until, By: "operator"})
	b := start(t, join(t, lab, "b"), Candidate{})
	if _, err := b.wait(t); err != nil {
		t.Fatal(err)
	}
	if time.Now().Before(until) {
		t.Error("the pause ended too early")
	}
	if p := plane(t, lab); p.Pause != nil {
		t.Errorf("pause = %+v", p.Pause)
	}
}
