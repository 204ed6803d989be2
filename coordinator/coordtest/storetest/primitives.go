package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file checks what the methods of a candidacy promise, one by one.

// candidacyCases are the part of the contract that this file checks.
func candidacyCases() []Case {
	return []Case{
		{"A term does not begin on an old situation", oldSituation},
		{"A term whose answer is lost is awarded", lostTerm},
		{"A candidate that goes to the end keeps a term that it was given", requeueKeepsAnAward},
		{"A candidate is told that its key was deleted", deletedKeyIsTold},
	}
}

func enter(t *testing.T, m driver.Presence) driver.Candidacy {
	t.Helper()
	c, err := m.Stand(limit(t))
	if err != nil {
		t.Fatalf("stand: %v", err)
	}
	return c
}

// reaches waits until a candidacy is told a position.
func reaches(t *testing.T, c driver.Candidacy, what string, wanted func(driver.Position) bool) {
	t.Helper()
	ctx := limit(t)
	for {
		changed := c.Changed()
		p := c.Position()
		if wanted(p) {
			return
		}
		select {
		case <-changed:
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("position = %+v, want %s", p, what)
		}
	}
}

func look(t *testing.T, c driver.Candidacy) driver.Situation {
	t.Helper()
	s, err := c.Look(limit(t))
	if err != nil {
		t.Fatalf("look: %v", err)
	}
	return s
}

func turn(p driver.Position) bool    { return p.Turn && p.Queued }
func awarded(p driver.Position) bool { return p.Awarded }

// What was looked at is old once the candidate has a new key, or a term has been given.
func oldSituation(t *testing.T, lab Lab) {
	c := enter(t, join(t, lab, "a"))
	reaches(t, c, "its turn", turn)
	old := look(t, c)
	if !old.Open || old.Awarded {
		t.Fatalf("situation = %+v, want it open", old)
	}
	if err := c.Requeue(limit(t)); err != nil {
		t.Fatal(err)
	}
	reaches(t, c, "its turn again", turn)
	before := plane(t, lab)
	if _, err := c.Begin(limit(t), old, driver.Conditions{}); !errors.Is(err, driver.ErrChanged) {
		t.Errorf("begin on an old situation = %v, want ErrChanged", err)
	}
	if p := plane(t, lab); p.Holder.Term != 0 || p.Revision != before.Revision {
		t.Errorf("plane = %+v, want nothing written", p)
	}
	if _, err := c.Accept(); !errors.Is(err, driver.ErrChanged) {
		t.Errorf("accept without an award = %v, want ErrChanged", err)
	}
	term, err := c.Begin(limit(t), look(t, c), driver.Conditions{})
	if err != nil {
		t.Fatal(err)
	}
	commit(t, term, "op", []rebind.Revision{0}, put("entity/x", "1"))
}

func lostTerm(t *testing.T, lab Lab) {
	c := enter(t, join(t, lab, "a"))
	reaches(t, c, "its turn", turn)
	s := look(t, c)
	lab.LoseAnswer("a", func() {})
	if term, err := c.Begin(limit(t), s, driver.Conditions{}); err == nil {
		t.Fatalf("begin returns term %d, want its answer lost", term.Number())
	}
	if s := look(t, c); !s.Awarded || s.Open {
		t.Fatalf("situation = %+v, want the term awarded", s)
	}
	reaches(t, c, "the term awarded", awarded)
	term, err := c.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if p := plane(t, lab); !p.Held || p.Holder.Term != term.Number() {
		t.Errorf("plane = %+v, want term %d", p, term.Number())
	}
	commit(t, term, "op", []rebind.Revision{0}, put("entity/x", "1"))
}

// A handover ends the wait of its target in the queue. What the target has not been told
// of must not make it give the key away that has the term.
func requeueKeepsAnAward(t *testing.T, lab Lab) {
	old := elect(t, join(t, lab, "a"))
	c := enter(t, join(t, lab, "b"))
	queued(t, lab, "b")
	reaches(t, c, "to be queued", func(p driver.Position) bool { return p.Queued })
	if err := old.Offer(limit(t), &driver.Offer{ID: "h", From: "a", To: "b"}); err != nil {
		t.Fatal(err)
	}
	p := plane(t, lab)
	to, _ := p.Member("b")
	if err := old.Pass(limit(t), to, record("a")); err != nil {
		t.Fatal(err)
	}
	if err := c.Requeue(limit(t)); !errors.Is(err, driver.ErrChanged) {
		t.Fatalf("requeue after the term was given = %v, want ErrChanged", err)
	}
	reaches(t, c, "the term awarded", awarded)
	if _, err := c.Accept(); err != nil {
		t.Fatal(err)
	}
	if p := plane(t, lab); !p.Held || p.Holder.Node != "b" {
		t.Errorf("plane = %+v, want b to hold the term", p)
	}
}

func deletedKeyIsTold(t *testing.T, lab Lab) {
	elect(t, join(t, lab, "a"))
	c := enter(t, join(t, lab, "b"))
	reaches(t, c, "to be queued", func(p driver.Position) bool { return p.Queued && !p.Turn })
	lab.DeleteCandidate("b")
	reaches(t, c, "to be gone", func(p driver.Position) bool { return p.Gone && !p.Queued })
	if err := c.Requeue(limit(t)); err != nil {
		t.Fatal(err)
	}
	reaches(t, c, "to be queued again", func(p driver.Position) bool { return p.Queued && !p.Gone })
	left := errors.New("enough")
	if err := c.Leave(limit(t), left); err != nil {
		t.Fatal(err)
	}
	p := plane(t, lab)
	if m, _ := p.Member("b"); m.Candidacy != 0 {
		t.Errorf("member = %+v, want it out of the election", m)
	}
}
