package storetest

import (
	"errors"
	"testing"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

func joinExclusive(t *testing.T, lab Lab, id string) (driver.Presence, driver.ExclusiveTerm) {
	t.Helper()
	m, term, err := lab.Node(id).JoinExclusive(limit(t), record(id), "mine")
	if err != nil {
		t.Fatalf("%s joins exclusively: %v", id, err)
	}
	return m, term
}

func exclusiveKeepsOthersOut(t *testing.T, lab Lab) {
	m, term := joinExclusive(t, lab, "a")
	p := plane(t, lab)
	if p.Exclusive == nil || *p.Exclusive != (driver.Guard{Node: "a", URI: "http://a"}) {
		t.Fatalf("exclusive = %+v", p.Exclusive)
	}
	if p.ID != "mine" || p.Held || len(p.Members) != 0 {
		t.Fatalf("plane = %+v, want it founded and nobody in it", p)
	}
	if _, err := lab.Node("b").Join(limit(t), record("b")); !errors.Is(err, driver.ErrExclusive) {
		t.Errorf("join = %v, want ErrExclusive", err)
	}
	if _, _, err := lab.Node("b").JoinExclusive(limit(t), record("b"), ""); !errors.Is(err, driver.ErrExclusive) {
		t.Errorf("joining exclusively as well = %v, want ErrExclusive", err)
	}
	if m.Remaining() <= 0 || term.Number() == 0 || term.Revision() == 0 {
		t.Errorf("remaining %s, term %d at %d", m.Remaining(), term.Number(), term.Revision())
	}
	if after := plane(t, lab); after.Revision != p.Revision {
		t.Errorf("what was refused made revision %d of %d", after.Revision, p.Revision)
	}
}

func exclusiveRefusedWhereOthersLive(t *testing.T, lab Lab) {
	other := join(t, lab, "b")
	before := plane(t, lab)
	if _, _, err := lab.Node("a").JoinExclusive(limit(t), record("a"), "mine"); !errors.Is(err, driver.ErrExclusive) {
		t.Fatalf("joining exclusively = %v, want ErrExclusive", err)
	}
	if p := plane(t, lab); p.Revision != before.Revision || p.ID != "" || p.Exclusive != nil {
		t.Fatalf("plane = %+v, want nothing written", p)
	}
	if err := other.Leave(limit(t), nil); err != nil {
		t.Fatal(err)
	}
	joinExclusive(t, lab, "a")
}

func exclusiveTermWrites(t *testing.T, lab Lab) {
	_, term := joinExclusive(t, lab, "a")
	at := commit(t, term, "op1", []rebind.Revision{0}, put("entity/x", "1"))
	if p := plane(t, lab); p.Revision != at || len(p.Members) != 0 {
		t.Errorf("plane = %+v, want it to show nothing of a disabled node", p)
	}
	if _, err := term.Clear(limit(t)); err != nil {
		t.Errorf("clear = %v", err)
	}
	lab.DeleteGuard()
	over(t, term)
	if _, err := term.Commit(limit(t), driver.Writes(rebind.Delta{ID: "op2", Ops: []rebind.Op{put("entity/y", "late")}}, []rebind.Revision{0})); !errors.Is(err, driver.ErrClosed) {
		t.Errorf("commit without a guard = %v, want that it is not even sent", err)
	}
	if found, _ := load(t, lab); len(found) != 0 {
		t.Errorf("found %v, want the late write refused", found)
	}
	join(t, lab, "b")
}

func exclusiveTermIsGivenUp(t *testing.T, lab Lab) {
	m, term := joinExclusive(t, lab, "a")
	if err := term.Resign(limit(t)); err != nil {
		t.Fatal(err)
	}
	over(t, term)
	if p := plane(t, lab); p.Exclusive != nil || len(p.Members) != 0 {
		t.Fatalf("plane = %+v, want it open", p)
	}
	second := elect(t, join(t, lab, "b"))
	if second.Number() <= term.Number() {
		t.Errorf("term %d follows %d", second.Number(), term.Number())
	}
	if err := m.Leave(limit(t), nil); err != nil {
		t.Errorf("leave = %v", err)
	}
}

func exclusiveTermEndsWithItsLease(t *testing.T, lab Lab) {
	m, term := joinExclusive(t, lab, "a")
	if err := m.Leave(limit(t), nil); err != nil {
		t.Fatal(err)
	}
	over(t, term)
	if p := plane(t, lab); p.Exclusive != nil {
		t.Errorf("plane = %+v, want it open", p)
	}
}
