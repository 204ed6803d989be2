package storetest

import (
	"sync/atomic"
	"testing"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

func win(t *testing.T, m driver.Presence, as Candidate) driver.Term {
	t.Helper()
	term, err := as.Lead(limit(t), m)
	if err != nil {
		t.Fatalf("campaign: %v", err)
	}
	return term
}

// Who has seen a higher term than the store knows is given a still higher one, and
// whoever comes next has no trouble with it.
func numberAfter(t *testing.T, lab Lab) {
	const seen = 1_000_000_000
	first := win(t, join(t, lab, "a"), Candidate{Conditions: with(driver.Conditions{After: seen})})
	if first.Number() != seen+1 {
		t.Errorf("term %d, want the one after %d", first.Number(), int64(seen))
	}
	waiting := start(t, join(t, lab, "b"), Candidate{})
	queued(t, lab, "b")
	before := plane(t, lab).Revision
	if err := first.Resign(limit(t), record("a")); err != nil {
		t.Fatal(err)
	}
	second, err := waiting.wait(t)
	if err != nil {
		t.Fatal(err)
	}
	if second.Number() != first.Number()+1 {
		t.Errorf("term %d follows %d", second.Number(), first.Number())
	}
	if writes := plane(t, lab).Revision - before; writes > 2 {
		t.Errorf("%d revisions for a resignation and a term", writes)
	}
	commit(t, second, "op", []rebind.Revision{0}, put("entity/x", "1"))
}

func candidateFounds(t *testing.T, lab Lab) {
	founder := Candidate{Conditions: with(driver.Conditions{PlaneID: "mine"})}
	a := join(t, lab, "a")
	if p := plane(t, lab); p.ID != "" || p.Format != 0 {
		t.Fatalf("plane = %+v, want none before the first term", p)
	}
	term := win(t, a, founder)
	if p := plane(t, lab); p.ID != "mine" || p.Format != driver.Format {
		t.Fatalf("plane = %+v, want the id that was asked for, in this format", p)
	}
	if err := term.Resign(limit(t), record("a")); err != nil {
		t.Fatal(err)
	}
	term = win(t, a, Candidate{Conditions: with(driver.Conditions{PlaneID: "other"})})
	if p := plane(t, lab); p.ID != "mine" {
		t.Fatalf("id = %s, want the first for ever", p.ID)
	}
	lab.DeleteMeta()
	if p := plane(t, lab); p.ID != "" || !p.Held {
		t.Fatalf("plane = %+v, want no id and the term in force", p)
	}
	commit(t, term, "op", []rebind.Revision{0}, put("entity/x", "1"))
	// A candidate that waits may learn the id meanwhile.
	var known atomic.Value
	known.Store("too early")
	late := Candidate{Conditions: func() driver.Conditions { return driver.Conditions{PlaneID: known.Load().(string)} }}
	waiting := start(t, join(t, lab, "b"), late)
	queued(t, lab, "b")
	known.Store("mine")
	if err := term.Resign(limit(t), record("a")); err != nil {
		t.Fatal(err)
	}
	if _, err := waiting.wait(t); err != nil {
		t.Fatal(err)
	}
	if p := plane(t, lab); p.ID != "mine" {
		t.Errorf("id = %s, want what the candidate knew when it won", p.ID)
	}
}

func with(c driver.Conditions) func() driver.Conditions {
	return func() driver.Conditions { return c }
}

// The candidate here does not mind company. It is the term's transaction that does.
func aloneWaits(t *testing.T, lab Lab) {
	other := join(t, lab, "b")
	alone, shown := counted(func(driver.Plane) Decision { return Take })
	alone.Conditions = with(driver.Conditions{Alone: true})
	a := start(t, join(t, lab, "a"), alone)
	asked(t, shown, 1)
	if err := other.Publish(limit(t), record("b")); err != nil {
		t.Fatal(err)
	}
	before := plane(t, lab)
	if err := other.Leave(limit(t), nil); err != nil {
		t.Fatal(err)
	}
	term, err := a.wait(t)
	if err != nil {
		t.Fatal(err)
	}
	if before.Held || term.Revision() <= before.Revision {
		t.Errorf("term began at %d, while b was here until after %d", term.Revision(), before.Revision)
	}
}

func deletedCandidacyReappears(t *testing.T, lab Lab) {
	elect(t, join(t, lab, "a"))
	start(t, join(t, lab, "b"), Candidate{})
	queued(t, lab, "b")
	lab.DeleteCandidate("b")
	queued(t, lab, "b")
}

func checkWritesNothing(t *testing.T, lab Lab) {
	term := elect(t, join(t, lab, "a"))
	start(t, join(t, lab, "b"), Candidate{})
	queued(t, lab, "b")
	before := plane(t, lab)
	to, _ := before.Member("b")
	if err := term.CheckHandover(limit(t), to); err != nil {
		t.Fatal(err)
	}
	p := plane(t, lab)
	if p.Revision != before.Revision || p.Holder != before.Holder || p.Offer != nil {
		t.Errorf("plane = %+v, want %+v as before", p, before)
	}
	commit(t, term, "op", []rebind.Revision{0}, put("entity/x", "1"))
	lab.Revoke("a")
	over(t, term)
	if err := term.CheckHandover(limit(t), to); err == nil {
		t.Error("rehearsed after the term was over")
	}
}

func clearDeletesAll(t *testing.T, lab Lab) {
	term := elect(t, join(t, lab, "a"))
	commit(t, term, "op1", []rebind.Revision{0, 0}, put("entity/x", "1"), put("location/y", "1"))
	lab.Garble("entity/z")
	before := plane(t, lab)
	at, err := term.Clear(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	found, rev := load(t, lab)
	if len(found) != 0 || at != before.Revision+1 || rev != at {
		t.Errorf("found %v at %d, cleared at %d after %d, want nothing, in one revision", found, rev, at, before.Revision)
	}
	if p := plane(t, lab); p.Holder != before.Holder || !p.Held || len(p.Members) != 1 {
		t.Errorf("plane = %+v, want it untouched", p)
	}
	commit(t, term, "op2", []rebind.Revision{0}, put("entity/x", "2"))
	lab.Revoke("a")
	over(t, term)
	if _, err := term.Clear(limit(t)); err == nil {
		t.Error("cleared after the term was over")
	}
	if found, _ := load(t, lab); len(found) != 1 {
		t.Errorf("found %v, want what the term wrote", found)
	}
}
