package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// farewell is what is kept of a node.
func farewell(id string, how driver.Departure) driver.Departed {
	r := record(id)
	r.State = modes.StateTerminated
	return driver.Departed{Record: r, Was: modes.StateHotStandby, At: time.Unix(3, 0).UTC(), How: how}
}

func wantLeft(t *testing.T, lab Lab, want ...driver.Departed) {
	t.Helper()
	got := plane(t, lab).Departed
	if len(got) != len(want) {
		t.Fatalf("left = %+v, want %d", got, len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("left = %+v, want %+v", got[i], want[i])
		}
	}
}

func leaveIsRemembered(t *testing.T, lab Lab) {
	m := join(t, lab, "a")
	term := elect(t, m)
	before := plane(t, lab).Revision
	last := farewell("a", driver.DepartureStopped)
	if err := m.Leave(limit(t), &last); err != nil {
		t.Fatal(err)
	}
	over(t, term)
	p := plane(t, lab)
	if p.Held || len(p.Members) != 0 || p.Revision != before+1 {
		t.Fatalf("plane = %+v, want record and candidacy gone in the revision after %d", p, before)
	}
	wantLeft(t, lab, last)
	again := farewell("a", driver.DepartureLost)
	if err := m.Leave(limit(t), &again); err != nil {
		t.Fatal(err)
	}
	wantLeft(t, lab, last) // it is no longer a's to say
	join(t, lab, "b")
	wantLeft(t, lab, last)
	before = plane(t, lab).Revision
	join(t, lab, "a")
	wantLeft(t, lab)
	if p := plane(t, lab); p.Revision != before+1 || len(p.Members) != 2 {
		t.Errorf("plane = %+v, want a back in the revision after %d", p, before)
	}
}

func leaveOfAnotherLease(t *testing.T, lab Lab) {
	old := join(t, lab, "a")
	lab.Revoke("a")
	join(t, lab, "a")
	last := farewell("a", driver.DepartureStopped)
	if err := old.Leave(limit(t), &last); err != nil {
		t.Fatal(err)
	}
	wantLeft(t, lab)
	if p := plane(t, lab); len(p.Members) != 1 {
		t.Errorf("members = %+v, want the new a untouched", p.Members)
	}
}

func recordOnlyTheDeparted(t *testing.T, lab Lab) {
	term := elect(t, join(t, lab, "a"))
	join(t, lab, "b")
	lost := farewell("b", driver.DepartureLost)
	recordDeparture := func(l driver.Departed) {
		t.Helper()
		if err := term.RecordDeparture(limit(t), l); err != nil {
			t.Fatalf("record departure: %v", err)
		}
	}
	recordDeparture(lost)
	wantLeft(t, lab)
	lab.Revoke("b")
	recordDeparture(lost)
	wantLeft(t, lab, lost)
	other := lost
	other.URI = "http://elsewhere"
	recordDeparture(other)
	wantLeft(t, lab, lost) // the first word stands
	commit(t, term, "op", []rebind.Revision{0}, put("entity/x", "1"))
	lab.Revoke("a")
	over(t, term)
	if err := term.RecordDeparture(limit(t), farewell("c", driver.DepartureLost)); err == nil {
		t.Error("buried after the term was over")
	}
	wantLeft(t, lab, lost)
}

func forgetDeletes(t *testing.T, lab Lab) {
	operator := lab.Node("operator")
	if err := operator.Forget(limit(t), "a"); !errors.Is(err, driver.ErrNoNode) {
		t.Fatalf("forget nobody = %v, want ErrNoNode", err)
	}
	for _, id := range []string{"a", "ab"} {
		m := join(t, lab, id)
		last := farewell(id, driver.DepartureStopped)
		if err := m.Leave(limit(t), &last); err != nil {
			t.Fatal(err)
		}
	}
	if err := operator.Forget(limit(t), "a"); err != nil {
		t.Fatal(err)
	}
	wantLeft(t, lab, farewell("ab", driver.DepartureStopped))
	if err := operator.Forget(limit(t), "a"); !errors.Is(err, driver.ErrNoNode) {
		t.Errorf("forget again = %v, want ErrNoNode", err)
	}
}
