package storetest

import (
	"context"
	"errors"
	"testing"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

func oneWins(t *testing.T, lab Lab) {
	first := elect(t, join(t, lab, "a"))
	p := plane(t, lab)
	if !p.Held || p.Holder.Node != "a" || p.Holder.Term != first.Number() || p.ID == "" {
		t.Fatalf("plane = %+v, want term %d of a", p, first.Number())
	}
	if first.PlaneID() != p.ID {
		t.Errorf("the term began in plane %q, want %q", first.PlaneID(), p.ID)
	}
	if first.Revision() == 0 || first.Revision() > p.Revision {
		t.Errorf("term record at revision %d of %d", first.Revision(), p.Revision)
	}
	waiting := start(t, join(t, lab, "b"), Candidate{})
	queued(t, lab, "b")
	select {
	case <-waiting.done:
		t.Fatalf("second candidate returned: %v %v", waiting.term, waiting.err)
	default:
	}
	if err := first.Resign(limit(t), record("a")); err != nil {
		t.Fatal(err)
	}
	over(t, first)
	second, err := waiting.wait(t)
	if err != nil {
		t.Fatal(err)
	}
	if second.Number() <= first.Number() {
		t.Errorf("term %d follows %d", second.Number(), first.Number())
	}
	if after := plane(t, lab); after.Holder.Node != "b" || after.ID != p.ID {
		t.Errorf("plane = %+v, want term of b in the same plane", after)
	}
}

func makingWay(t *testing.T, lab Lab) {
	master := elect(t, join(t, lab, "a"))
	asked := 0
	polite := start(t, join(t, lab, "b"), Candidate{Decide: func(p driver.Plane) Decision {
		asked++
		if p.Held {
			t.Errorf("considered a plane that is not vacant: %+v", p)
		}
		if asked == 1 {
			return MakeWay
		}
		return Take
	}})
	queued(t, lab, "b")
	eager := start(t, join(t, lab, "c"), Candidate{})
	queued(t, lab, "c")
	if err := master.Resign(limit(t), record("a")); err != nil {
		t.Fatal(err)
	}
	term, err := eager.wait(t)
	if err != nil {
		t.Fatal(err)
	}
	if p := plane(t, lab); p.Holder.Node != "c" {
		t.Fatalf("term of %s, want c, for whom b made way", p.Holder.Node)
	}
	if err := term.Resign(limit(t), record("c")); err != nil {
		t.Fatal(err)
	}
	if _, err := polite.wait(t); err != nil {
		t.Fatal(err)
	}
}

func cancelledCampaign(t *testing.T, lab Lab) {
	master := elect(t, join(t, lab, "a"))
	m := join(t, lab, "b")
	waiting := start(t, m, Candidate{})
	queued(t, lab, "b")
	waiting.cancel()
	if _, err := waiting.wait(t); !errors.Is(err, context.Canceled) {
		t.Fatalf("campaign = %v, want the cause of its context", err)
	}
	p := plane(t, lab)
	if got, ok := p.Member("b"); !ok || got.Candidacy != 0 {
		t.Fatalf("member = %+v, want it there and out of the election", got)
	}
	if err := master.Resign(limit(t), record("a")); err != nil {
		t.Fatal(err)
	}
	if p := plane(t, lab); p.Held {
		t.Fatalf("plane = %+v, want no holder", p)
	}
	elect(t, m) // it can come back
}

func noPhantomWin(t *testing.T, lab Lab) {
	master := elect(t, join(t, lab, "a"))
	phantom := start(t, join(t, lab, "b"), Candidate{})
	queued(t, lab, "b")
	rightful := start(t, join(t, lab, "c"), Candidate{})
	queued(t, lab, "c")
	lab.Revoke("b")
	if err := master.Resign(limit(t), record("a")); err != nil {
		t.Fatal(err)
	}
	if term, err := phantom.wait(t); !errors.Is(err, driver.ErrLeaseLost) {
		t.Fatalf("candidate without a lease: term %v, error %v, want ErrLeaseLost", term, err)
	}
	if _, err := rightful.wait(t); err != nil {
		t.Fatal(err)
	}
	if p := plane(t, lab); p.Holder.Node != "c" || !p.Held {
		t.Fatalf("plane = %+v, want term of c", p)
	}
}

func deletedCandidacyHeals(t *testing.T, lab Lab) {
	master := elect(t, join(t, lab, "a"))
	waiting := start(t, join(t, lab, "b"), Candidate{})
	queued(t, lab, "b")
	lab.DeleteCandidate("b")
	if err := master.Resign(limit(t), record("a")); err != nil {
		t.Fatal(err)
	}
	if _, err := waiting.wait(t); err != nil {
		t.Fatal(err)
	}
	if p := plane(t, lab); p.Holder.Node != "b" || !p.Held {
		t.Fatalf("plane = %+v, want term of b", p)
	}
}

func termsRise(t *testing.T, lab Lab) {
	m := join(t, lab, "a")
	var last int64
	for range 3 {
		term := elect(t, m)
		if term.Number() <= last {
			t.Fatalf("term %d follows %d", term.Number(), last)
		}
		last = term.Number()
		if err := term.Resign(limit(t), record("a")); err != nil {
			t.Fatal(err)
		}
		over(t, term)
		if p := plane(t, lab); p.Held || p.Holder.Term != last {
			t.Fatalf("plane = %+v, want term %d on record and not held", p, last)
		}
	}
}

func deletedKeyEndsTerm(t *testing.T, lab Lab) {
	m := join(t, lab, "a")
	term := elect(t, m)
	lab.DeleteCandidate("a")
	over(t, term)
	again := elect(t, m)
	if again.Number() <= term.Number() {
		t.Errorf("term %d follows %d", again.Number(), term.Number())
	}
}

func deletedTermRecordEndsTerm(t *testing.T, lab Lab) {
	m := join(t, lab, "a")
	term := elect(t, m)
	lab.DeleteTerm()
	over(t, term)
	if err := m.Leave(limit(t), nil); err != nil {
		t.Fatal(err)
	}
	again := elect(t, join(t, lab, "a"))
	if again.Number() <= term.Number() {
		t.Errorf("term %d follows %d", again.Number(), term.Number())
	}
}

func announceWrites(t *testing.T, lab Lab) {
	term := elect(t, join(t, lab, "a"))
	master := record("a")
	master.State, master.Term = modes.StateMaster, term.Number()
	gap := int64(12)
	entry := driver.HistoryEntry{
		Term: term.Number(), Node: "a", From: "z", Reason: driver.ReasonFailover,
		Since: master.Since, GapMS: &gap, RebindMS: 3, Mementos: 4,
	}
	if p := plane(t, lab); hasMaster(&p) {
		t.Fatal("a master before the announcement")
	}
	before := plane(t, lab).Revision
	if err := term.Announce(limit(t), master, entry); err != nil {
		t.Fatal(err)
	}
	p := plane(t, lab)
	if got, ok := p.Master(); !ok || got.Record != master || p.Revision != before+1 {
		t.Fatalf("plane = %+v, want %+v as master, in one revision", p, master)
	}
	history, err := lab.Node("observer").History(limit(t))
	if err != nil || len(history) != 1 {
		t.Fatalf("history = %+v, %v, want one entry", history, err)
	}
	got := history[0]
	if got.GapMS == nil || *got.GapMS != gap {
		t.Errorf("gap = %v, want %d", got.GapMS, gap)
	}
	got.GapMS = entry.GapMS
	if got != entry {
		t.Errorf("entry = %+v, want %+v", got, entry)
	}
	lab.Revoke("a")
	over(t, term)
	if err := term.Announce(limit(t), master, entry); err == nil {
		t.Error("announced after the term was over")
	}
}

func hasMaster(p *driver.Plane) bool {
	_, ok := p.Master()
	return ok
}

func passGives(t *testing.T, lab Lab) {
	old := elect(t, join(t, lab, "a"))
	// An older candidate than the target waits: the term passes it by.
	bystander := start(t, join(t, lab, "c"), Candidate{})
	queued(t, lab, "c")
	target := start(t, join(t, lab, "b"), Candidate{Decide: func(driver.Plane) Decision {
		t.Error("target was asked although the term was handed to it")
		return Take
	}})
	queued(t, lab, "b")
	offer := driver.Offer{ID: "h1", From: "a", To: "b", Until: record("a").Since}
	if err := old.Offer(limit(t), &offer); err != nil {
		t.Fatal(err)
	}
	p := plane(t, lab)
	if p.Offer == nil || *p.Offer != offer {
		t.Fatalf("handover = %+v, want %+v", p.Offer, offer)
	}
	to, _ := p.Member("b")
	demoted := record("a")
	demoted.Priority = 7
	if err := old.Pass(limit(t), to, demoted); err != nil {
		t.Fatal(err)
	}
	over(t, old)
	term, err := target.wait(t)
	if err != nil {
		t.Fatal(err)
	}
	p = plane(t, lab)
	if !p.Held || p.Holder.Node != "b" || p.Holder.Term != term.Number() || term.Number() <= old.Number() || p.Offer != nil {
		t.Fatalf("plane = %+v, want a later term of b and no handover", p)
	}
	if a, _ := p.Member("a"); a.Record != demoted || a.Candidacy != 0 {
		t.Errorf("old master = %+v, want the record passed and no candidacy", a)
	}
	commit(t, term, "op", []rebind.Revision{0}, put("entity/x", "1"))
	select {
	case <-bystander.done:
		t.Errorf("bystander returned: %v", bystander.err)
	default:
	}
	if err := term.Resign(limit(t), record("b")); err != nil {
		t.Fatal(err)
	}
	if _, err := bystander.wait(t); err != nil {
		t.Errorf("bystander does not win in its turn: %v", err)
	}
}

func passRefused(t *testing.T, lab Lab) {
	old := elect(t, join(t, lab, "a"))
	start(t, join(t, lab, "b"), Candidate{})
	queued(t, lab, "b")
	if err := old.Offer(limit(t), &driver.Offer{ID: "h1", From: "a", To: "b"}); err != nil {
		t.Fatal(err)
	}
	p := plane(t, lab)
	to, _ := p.Member("b")
	lab.Revoke("b")
	if err := old.Pass(limit(t), to, record("a")); !errors.Is(err, driver.ErrRefused) {
		t.Fatalf("pass = %v, want ErrRefused", err)
	}
	if err := old.Offer(limit(t), nil); err != nil {
		t.Fatal(err)
	}
	if p := plane(t, lab); !p.Held || p.Holder.Node != "a" || p.Offer != nil {
		t.Fatalf("plane = %+v, want a to lead on", p)
	}
	commit(t, old, "op", []rebind.Revision{0}, put("entity/x", "1"))
}
