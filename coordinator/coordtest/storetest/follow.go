package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
)

// observed is a following under way.
type observed struct {
	t    *testing.T
	node string
	seen chan driver.Plane
	end  func() error // ends it and returns how
}

// follow begins to follow the plane for a node, or the whole of it for none.
func follow(t *testing.T, lab Lab, node string) *observed {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s := &observed{t: t, node: node, seen: make(chan driver.Plane, 1000)}
	store := lab.Node("observer")
	done := make(chan error, 1)
	go func() { done <- followFor(ctx, store, node, func(p driver.Plane) { s.seen <- p }) }()
	s.end = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = s.end() })
	return s
}

// followFor follows the plane for a node, or the whole of it for none.
func followFor(ctx context.Context, store driver.Store, node string, see func(driver.Plane)) error {
	if node == "" {
		return store.Follow(ctx, see)
	}
	return store.FollowNear(ctx, node, func(p driver.NearPlane) {
		see(driver.Plane{PlaneCore: p.PlaneCore, Members: p.Members})
	})
}

// await waits until the plane is shown so.
func (s *observed) await(what string, ok func(driver.Plane) bool) {
	s.t.Helper()
	last := driver.Plane{}
	for {
		select {
		case last = <-s.seen:
			s.check(&last)
			if ok(last) {
				return
			}
		case <-limit(s.t).Done():
			s.t.Fatalf("not seen: %s; last %+v", what, last)
		}
	}
}

// check wants nothing shown that is not to be.
func (s *observed) check(p *driver.Plane) {
	s.t.Helper()
	if s.node == "" {
		return
	}
	for _, m := range p.Members {
		if (m.ID != s.node && m.ID != p.Holder.Node) || (m.Candidacy != 0 && m.CandidateKey != p.Holder.Key) {
			s.t.Fatalf("%+v is shown to %s while %s holds the term", m, s.node, p.Holder.Node)
		}
	}
}

// members tells who is in the plane, in order.
func members(p *driver.Plane) string {
	ids := []string{}
	for _, m := range p.Members {
		ids = append(ids, m.ID)
	}
	return fmt.Sprint(ids)
}

func followSees(t *testing.T, lab Lab) {
	s := follow(t, lab, "")
	s.await("the empty plane", func(p driver.Plane) bool { return len(p.Members) == 0 })
	m := join(t, lab, "a")
	s.await("the record", func(p driver.Plane) bool { return len(p.Members) == 1 && p.Members[0].Record == record("a") })
	term := elect(t, m)
	s.await("the term", func(p driver.Plane) bool {
		return p.Held && p.Holder.Node == "a" && p.Holder.Term == term.Number() && p.ID != "" && p.Members[0].Candidacy != 0
	})
	if err := m.Leave(limit(t), nil); err != nil {
		t.Fatal(err)
	}
	s.await("the end", func(p driver.Plane) bool {
		return len(p.Members) == 0 && !p.Held && p.Holder.Term == term.Number()
	})
	if err := s.end(); !errors.Is(err, context.Canceled) {
		t.Errorf("Follow = %v, want the cause of its context", err)
	}
}

func followNarrowly(t *testing.T, lab Lab) {
	a := join(t, lab, "a")
	last := farewell("gone", driver.DepartureStopped)
	if err := join(t, lab, "gone").Leave(limit(t), &last); err != nil {
		t.Fatal(err)
	}
	s := follow(t, lab, "c")
	s.await("the plane without others", func(p driver.Plane) bool { return p.Revision != 0 && len(p.Members) == 0 })
	c := join(t, lab, "c")
	s.await("the own record", func(p driver.Plane) bool { return members(&p) == "[c]" && p.Members[0].Record == record("c") })
	own := record("c")
	own.State = modes.StateHotBackup
	if err := c.Publish(limit(t), own); err != nil {
		t.Fatal(err)
	}
	s.await("the own record's change", func(p driver.Plane) bool { return members(&p) == "[c]" && p.Members[0].Record == own })
	lab.DeleteRecord("c")
	s.await("the own record's end", func(p driver.Plane) bool { return len(p.Members) == 0 })
	if err := c.Publish(limit(t), own); err != nil {
		t.Fatal(err)
	}
	s.await("the own record again", func(p driver.Plane) bool { return members(&p) == "[c]" })
	term := elect(t, a)
	s.await("the term, its holder and the plane's identity", func(p driver.Plane) bool {
		return p.Held && p.Holder.Node == "a" && members(&p) == "[a c]" && p.Members[0].Candidacy != 0 && p.ID != "" && p.Format == driver.Format
	})
	if err := term.Offer(limit(t), &driver.Offer{ID: "h", From: "a", To: "c"}); err != nil {
		t.Fatal(err)
	}
	s.await("the offer", func(p driver.Plane) bool { return p.Offer != nil && p.Offer.ID == "h" })
	pause(t, lab, driver.Pause{By: "a"})
	s.await("the pause", func(p driver.Plane) bool { return p.Pause != nil && p.Pause.By == "a" })
	lab.DeleteMeta()
	s.await("the identity's end", func(p driver.Plane) bool { return p.ID == "" && p.Pause != nil })
	if err := s.end(); !errors.Is(err, context.Canceled) {
		t.Errorf("Follow = %v, want the cause of its context", err)
	}
	s = follow(t, lab, "c")
	s.await("all of it at once", func(p driver.Plane) bool {
		return p.Held && members(&p) == "[a c]" && p.Offer != nil && p.Pause != nil
	})
	s = follow(t, lab, "a")
	s.await("the holder itself", func(p driver.Plane) bool { return p.Held && members(&p) == "[a]" && p.Members[0].Candidacy != 0 })
}

func followHolder(t *testing.T, lab Lab) {
	a, b := join(t, lab, "a"), join(t, lab, "b")
	s, former := follow(t, lab, "c"), follow(t, lab, "a")
	old := elect(t, a)
	s.await("a's term", func(p driver.Plane) bool { return p.Held && members(&p) == "[a]" })
	leads := record("a")
	leads.State, leads.Term = modes.StateMaster, old.Number()
	if err := old.Announce(limit(t), leads, driver.HistoryEntry{Term: old.Number(), Node: "a"}); err != nil {
		t.Fatal(err)
	}
	s.await("a's announcement", func(p driver.Plane) bool { m, ok := p.Master(); return ok && m.ID == "a" })
	successor := start(t, b, Candidate{})
	queued(t, lab, "b")
	p := plane(t, lab)
	to, _ := p.Member("b")
	if err := old.Offer(limit(t), &driver.Offer{ID: "h", From: "a", To: "b"}); err != nil {
		t.Fatal(err)
	}
	if err := old.Pass(limit(t), to, record("a")); err != nil {
		t.Fatal(err)
	}
	next, err := successor.wait(t)
	if err != nil {
		t.Fatal(err)
	}
	s.await("b's term, and a no more", func(p driver.Plane) bool {
		return p.Held && p.Holder.Node == "b" && members(&p) == "[b]" && p.Members[0].Record == record("b")
	})
	former.await("b's term, and itself no candidate", func(p driver.Plane) bool {
		return p.Held && p.Holder.Node == "b" && members(&p) == "[a b]" && p.Members[0].Candidacy == 0
	})
	leads = record("b")
	leads.State, leads.Term = modes.StateMaster, next.Number()
	if err := next.Publish(limit(t), leads); err != nil {
		t.Fatal(err)
	}
	s.await("b's record", func(p driver.Plane) bool { m, ok := p.Master(); return ok && m.ID == "b" })
	lab.DeleteCandidate("b")
	s.await("the end of b's candidacy", func(p driver.Plane) bool {
		return !p.Held && p.Holder.Node == "b" && members(&p) == "[b]" && p.Members[0].Candidacy == 0
	})
	lab.Revoke("b")
	s.await("the end of b", func(p driver.Plane) bool { return !p.Held && p.Holder.Node == "b" && len(p.Members) == 0 })
	over(t, next)
	lab.DeleteTerm()
	s.await("the end of the term record", func(p driver.Plane) bool { return p.Holder == driver.Holder{} })
	elect(t, a)
	s.await("a again", func(p driver.Plane) bool { return p.Held && members(&p) == "[a]" && p.Members[0].Candidacy != 0 })
}

func sizeCounts(t *testing.T, lab Lab) {
	for want, id := range []string{"a", "ab", "b"} {
		if n, err := lab.Node("observer").Size(limit(t)); err != nil || n != want {
			t.Fatalf("size = %d, %v, want %d", n, err, want)
		}
		join(t, lab, id)
	}
	lab.Revoke("ab")
	if n, err := lab.Node("observer").Size(limit(t)); err != nil || n != 2 {
		t.Fatalf("size = %d, %v, want 2", n, err)
	}
}
