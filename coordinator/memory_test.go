package coordinator_test

import (
	"testing"

	"github.com/coordinator-ha/coordinator/coordinator"
	"github.com/coordinator-ha/coordinator/modes"
)

// Promise: terms rise for everyone who saw them, even where the store has lost the
// record of the last one, and also if the next master has stood for election
// since before it.
func TestNode_TermsRiseWithoutTheRecordOfTheLast(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		// A store that was restored: its revisions are behind the terms.
		a := l.start("a", modes.Auto, func(c *coordinator.Config) { c.HighestTerm = 1000 })
		settle()
		l.start("b", modes.HotStandby, func(c *coordinator.Config) { c.Priority = 1 })
		l.start("c", modes.HotStandby)
		settle()
		passed, err := handover(t, a, "c")
		if err != nil {
			t.Fatal(err)
		}
		settle() // until b has seen the term that is to go
		l.server.DeleteTerm()
		settle()
		if s := l.master().Status(); s.ID != "b" || s.Term <= passed.Term {
			t.Errorf("%s leads term %d after term %d, want b in a later one", s.ID, s.Term, passed.Term)
		}
	})
}

// Promise: a plane whose id was deleted gets it back with the next term, also from
// a node that has stood for election since before the plane had one.
func TestNode_DeletedPlaneIDComesBack(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.start("a", modes.Auto)
		l.start("b", modes.Auto)
		settle()
		master := l.master()
		p, err := master.Plane(t.Context())
		if err != nil || p.ID == "" {
			t.Fatalf("plane = %+v, %v, want an id", p, err)
		}
		l.server.SetMeta("", 0)
		l.server.DeleteCandidate(master.Status().ID)
		settle()
		if next := l.master(); next == master {
			t.Fatal("the master took the term back, the other one was waiting for it")
		}
		if now, err := master.Plane(t.Context()); err != nil || now.ID != p.ID {
			t.Errorf("plane id is %q, %v, was %q", now.ID, err, p.ID)
		}
	})
}
