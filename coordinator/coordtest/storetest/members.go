package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
)

func joinPublishes(t *testing.T, lab Lab) {
	m := join(t, lab, "a")
	p := plane(t, lab)
	got, ok := p.Member("a")
	if !ok || got.Record != record("a") || got.Joined == 0 || got.Candidacy != 0 {
		t.Fatalf("member = %+v, want the record as published, not in the election", got)
	}
	if p.ID != "" || p.Held || p.Holder.Term != 0 {
		t.Fatalf("plane = %+v, want none begun", p)
	}
	if m.Remaining() <= 0 {
		t.Errorf("remaining = %s, want a time", m.Remaining())
	}
	changed := record("a")
	changed.State = modes.StateHotBackup
	if err := m.Publish(limit(t), changed); err != nil {
		t.Fatal(err)
	}
	p = plane(t, lab)
	if again, _ := p.Member("a"); again.Record != changed || again.Joined != got.Joined {
		t.Fatalf("member = %+v, want the new record, joined at %d", again, got.Joined)
	}
}

func joinRefusesTaken(t *testing.T, lab Lab) {
	first := join(t, lab, "a")
	other := record("a")
	other.Instance = "another"
	_, err := lab.Node("a").Join(limit(t), other)
	var taken *driver.TakenError
	if !errors.Is(err, driver.ErrNodeTaken) || !errors.As(err, &taken) || taken.Holder != record("a") {
		t.Fatalf("second join = %v, want a TakenError with the first record", err)
	}
	if err := first.Leave(limit(t), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := lab.Node("a").Join(limit(t), other); err != nil {
		t.Fatalf("join after leave: %v", err)
	}
}

func leaveDeletes(t *testing.T, lab Lab) {
	m := join(t, lab, "a")
	elect(t, m)
	before := plane(t, lab).Revision
	if err := m.Leave(limit(t), nil); err != nil {
		t.Fatal(err)
	}
	p := plane(t, lab)
	if _, ok := p.Member("a"); ok || p.Held {
		t.Fatalf("plane = %+v, want neither record nor candidacy", p)
	}
	if p.Revision != before+1 {
		t.Errorf("revision went from %d to %d, want both gone in one", before, p.Revision)
	}
	select {
	case <-m.Lost():
	default:
		t.Error("presence is not lost after Leave")
	}
	if !errors.Is(m.Cause(), driver.ErrLeaseLost) || m.Remaining() > 0 {
		t.Errorf("cause = %v, remaining = %s", m.Cause(), m.Remaining())
	}
	if err := m.Leave(limit(t), nil); err != nil {
		t.Errorf("second Leave = %v, want nil", err)
	}
}

func revokedLeaseEndsPresence(t *testing.T, lab Lab) {
	m := join(t, lab, "a")
	lab.Revoke("a")
	select {
	case <-m.Lost():
	case <-limit(t).Done():
		t.Fatal("presence is not lost")
	}
	if err := m.Publish(limit(t), record("a")); !errors.Is(err, driver.ErrLeaseLost) {
		t.Errorf("publish = %v, want ErrLeaseLost", err)
	}
	if _, err := (Candidate{}).Lead(limit(t), m); !errors.Is(err, driver.ErrLeaseLost) {
		t.Errorf("campaign = %v, want ErrLeaseLost", err)
	}
	if p := plane(t, lab); len(p.Members) != 0 {
		t.Errorf("members = %v, want none", p.Members)
	}
}

func deletedRecordIsRepublished(t *testing.T, lab Lab) {
	m := join(t, lab, "a")
	lab.DeleteRecord("a")
	if err := m.Publish(limit(t), record("a")); err != nil {
		t.Fatal(err)
	}
	p := plane(t, lab)
	if got, ok := p.Member("a"); !ok || got.Record != record("a") {
		t.Fatalf("member = %+v, want it back", got)
	}
	lab.Revoke("a")
	if p := plane(t, lab); len(p.Members) != 0 {
		t.Fatal("the record published again does not hang on the lease")
	}
}

// A lease is kept for a node that sends heartbeats, and not for one that has ceased to.
func hungNodeLosesItsLease(t *testing.T, lab Lab) {
	ttl := lab.Node("a").TTL()
	m := join(t, lab, "a")
	elect(t, m)
	m.Heartbeat()
	begun := time.Now()
	tick := time.NewTicker(ttl / 4)
	defer tick.Stop()
	for time.Since(begun) < driver.StallLimit(ttl)+ttl {
		m.Heartbeat()
		select {
		case <-tick.C:
		case <-m.Lost():
			t.Fatalf("a node that is well has lost its lease: %v", m.Cause())
		}
	}
	select {
	case <-m.Lost():
	case <-limit(t).Done():
		t.Fatal("a node that hangs keeps its lease")
	}
	if !errors.Is(m.Cause(), driver.ErrHung) || m.Remaining() > 0 {
		t.Errorf("cause = %v, remaining = %s", m.Cause(), m.Remaining())
	}
	eventually(t, func() error {
		if p := plane(t, lab); len(p.Members) != 0 || p.Held {
			return errors.New("what hung on the lease is still there")
		}
		return nil
	})
}

// forged is a node's record with another address.
func forged(id string) driver.Record {
	r := record(id)
	r.URI = "http://elsewhere"
	return r
}

func forgedRecordIsPutRight(t *testing.T, lab Lab) {
	m := join(t, lab, "a")
	own := func() driver.Member {
		p := plane(t, lab)
		got, _ := p.Member("a")
		return got
	}
	if !m.Owns(own()) {
		t.Error("the lease does not carry the record that it was published on")
	}
	lab.Forge("a", forged("a"))
	if got := own(); m.Owns(got) {
		t.Errorf("the lease carries %+v, which somebody else has put there", got)
	}
	thief := forged("a")
	thief.Instance = "another"
	for _, garbled := range []driver.Record{forged("a"), record("another"), thief} {
		lab.Forge("a", garbled)
		if err := m.Publish(limit(t), record("a")); err != nil {
			t.Fatal(err)
		}
		if got := own(); got.Record != record("a") || !m.Owns(got) {
			t.Fatalf("member = %+v, want it as published", got)
		}
	}
	lab.Revoke("a")
	if p := plane(t, lab); len(p.Members) != 0 {
		t.Error("the record that was put right does not hang on the node's lease")
	}
}

func recordOfAnotherProcessStays(t *testing.T, lab Lab) {
	m := join(t, lab, "a")
	other := forged("a")
	other.Instance = "another"
	lab.DeleteRecord("a") // or it could not have joined
	lab.Forge("a", other)
	if err := m.Publish(limit(t), record("a")); !errors.Is(err, driver.ErrNodeTaken) {
		t.Errorf("publish = %v, want ErrNodeTaken", err)
	}
	p := plane(t, lab)
	if got, _ := p.Member("a"); got.Record != other {
		t.Errorf("member = %+v, want %+v", got, other)
	}
}

// Whoever may write the master's record and no election key does not become what is
// taken for the master, however it is looked for.
func forgedRecordIsNotTheMasters(t *testing.T, lab Lab) {
	term := elect(t, join(t, lab, "a"))
	leads := record("a")
	leads.State, leads.Term = modes.StateMaster, term.Number()
	if err := term.Publish(limit(t), leads); err != nil {
		t.Fatal(err)
	}
	lie := leads
	lie.URI, lie.Next = "http://elsewhere", "b"
	lie.Instance = "another"
	lab.Forge("a", lie)
	for _, follower := range []string{"", "b"} {
		showsNobody(t, lab, follower)
	}
	p := plane(t, lab)
	if m, ok := p.Member("a"); ok || !p.Held {
		t.Errorf("held: %t, and the holder's record is %+v, want none that counts", p.Held, m)
	}
	if err := term.Publish(limit(t), leads); err != nil {
		t.Fatal(err)
	}
	p = plane(t, lab)
	if m, ok := p.Master(); !ok || m.Record != leads {
		t.Errorf("master = %+v, %t, want it as published", m, ok)
	}
}

// showsNobody follows the plane until it shows a term that is held, and wants no master.
func showsNobody(t *testing.T, lab Lab, node string) {
	t.Helper()
	ctx, cancel := context.WithCancel(limit(t))
	defer cancel()
	seen := false
	_ = followFor(ctx, lab.Node("observer"), node, func(p driver.Plane) {
		if !p.Held {
			return
		}
		seen = true
		if m, ok := p.Master(); ok {
			t.Errorf("who follows for %q takes %+v for the master", node, m)
		}
		cancel()
	})
	if !seen {
		t.Errorf("who follows for %q sees no term", node)
	}
}
