// Package storetest is the contract of [driver.Store] as tests. Every store
// passes all of them, the in-memory one as well as etcd's: if the fake lies, a
// test fails.
package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

// Lab is an empty store and what can be done to it behind the nodes' backs.
type Lab interface {
	// Node returns the store as the given node reaches it.
	Node(id string) driver.Store
	// Revoke ends the lease that carries the node's record.
	Revoke(node string)
	// DeleteCandidate deletes the node's election key.
	DeleteCandidate(node string)
	// DeleteRecord deletes the node's record.
	DeleteRecord(node string)
	// Forge puts r in the place of the node's record, on a lease of nobody's.
	Forge(node string, r driver.Record)
	// Stray puts a key into the election that hangs on no lease, in the place of the
	// node's own if that stands there.
	Stray(node string)
	// DeleteTerm deletes the term record.
	DeleteTerm()
	// EditTerm writes another number into the term record.
	EditTerm(number int64)
	// DeleteGuard deletes the key by which a disabled node has the plane to itself.
	DeleteGuard()
	// DeleteMeta deletes the plane's identity.
	DeleteMeta()
	// Garble puts a value that cannot be read under a memento's name.
	Garble(name rebind.Name)
	// Compact drops the history before the present revision.
	Compact()
	// LoseAnswer has the node's next commit, or the next term that it begins, take
	// effect and its answer lost; meanwhile runs in between.
	LoseAnswer(node string, meanwhile func())
	// Fill makes the store refuse what takes room, or take it again.
	Fill(full bool)
	// Corrupt makes the store refuse every write, as one does that has found its
	// members' data to differ, or take them again.
	Corrupt(corrupt bool)
}

// Case is one test of the contract.
type Case struct {
	Name string
	Run  func(t *testing.T, lab Lab)
}

// Test runs the whole contract. open makes an empty store for each test, and has it closed by
// a clean-up. For tests in a bubble of package testing/synctest use [Cases].
func Test(t *testing.T, open func(t *testing.T) Lab) {
	t.Helper()
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) { c.Run(t, open(t)) })
	}
}

// Cases returns the whole contract.
func Cases() []Case {
	return append(candidacyCases(), []Case{
		{"Join publishes a record", joinPublishes},
		{"Join refuses a taken node id", joinRefusesTaken},
		{"Leave deletes record and candidacy", leaveDeletes},
		{"A revoked lease ends the presence", revokedLeaseEndsPresence},
		{"A deleted record can be published again", deletedRecordIsRepublished},
		{"A node that hangs loses its lease", hungNodeLosesItsLease},
		{"A forged record is put right", forgedRecordIsPutRight},
		{"A forged record is not the master's", forgedRecordIsNotTheMasters},
		{"A record of another process is left to it", recordOfAnotherProcessStays},
		{"Follow sees changes", followSees},
		{"Follow for one node sees what concerns it", followNarrowly},
		{"Follow for one node sees the holder's every word", followHolder},
		{"Size counts the live", sizeCounts},
		{"One candidate wins", oneWins},
		{"A candidate that makes way goes to the end", makingWay},
		{"A cancelled campaign leaves the election", cancelledCampaign},
		{"A waiting candidate whose lease is gone wins nothing", noPhantomWin},
		{"A waiting candidate whose key is gone can still win", deletedCandidacyHeals},
		{"Terms rise", termsRise},
		{"A deleted election key ends the term", deletedKeyEndsTerm},
		{"A deleted term record ends the term", deletedTermRecordEndsTerm},
		{"A deleted election key of a waiting candidate reappears", deletedCandidacyReappears},
		{"A term is higher than its candidate asks for", numberAfter},
		{"A candidate founds the plane", candidateFounds},
		{"A term for one that is alone waits until it is", aloneWaits},
		{"A candidate that quits leaves the election", quitting},
		{"A candidate that made way can take the term out of its turn", makingWayForTheDead},
		{"A candidate that defers goes to the end unseen", deferring},
		{"A candidate that steps forward takes a vacant term out of its turn", steppingForward},
		{"A candidate that steps forward and makes way keeps its place", steppingBack},
		{"A pause shows until it is resumed", pauseShows},
		{"No term begins in a pause but by order", pauseForbidsTerms},
		{"A term record of a number that cannot rise is garbled", garbledTerm},
		{"A key that is nobody's keeps nobody from a term", strayIsPassedOver},
		{"A key that is nobody's in a candidate's place is replaced", strayCandidate},
		{"A key that is nobody's in the holder's place holds no term", strayHolder},
		{"A candidate that holds goes on after the pause", heldCandidateGoesOn},
		{"A pause with an end lapses", pauseLapses},
		{"A pause is over at its end", pauseIsOver},
		{"A node that leaves is remembered until it is back", leaveIsRemembered},
		{"Nobody says farewell for another's lease", leaveOfAnotherLease},
		{"RecordDeparture keeps who is gone, once", recordOnlyTheDeparted},
		{"Forget deletes one of those who left", forgetDeletes},
		{"A disabled node keeps others out", exclusiveKeepsOthersOut},
		{"Nobody is disabled where others live", exclusiveRefusedWhereOthersLive},
		{"A disabled node writes while it has the plane", exclusiveTermWrites},
		{"A disabled node lets others in when it resigns", exclusiveTermIsGivenUp},
		{"A disabled node's term ends with its lease", exclusiveTermEndsWithItsLease},
		{"Clear deletes all mementos in one revision", clearDeletesAll},
		{"A check of a handover writes nothing", checkWritesNothing},
		{"Announce writes record and history", announceWrites},
		{"The history keeps the last 200 terms", historyIsPruned},
		{"Pass gives the term to its target", passGives},
		{"Pass to a candidate that left is refused", passRefused},
		{"Commit is all or nothing", commitAtomic},
		{"Commit of a former term is fenced", commitFenced},
		{"A commit whose answer is lost is found, or told to be unknown", lostAnswers},
		{"A full store takes deletions only", fullStore},
		{"A corrupt store takes no write, for sure and at once", corruptStore},
		{"Load sees everything at one revision", loadSees},
		{"Past shows what was there at a revision", pastShows},
		{"Watch brings whole deltas in order", watchBrings},
		{"Watch from a compacted revision says so", watchCompacted},
		{"Progress tells how far a watch has come", progressTells},
		{"A value that cannot be read is a fault", garbageIsFault},
	}...)
}

// maxWait bounds every wait; it is generous, since machines are slow.
const maxWait = 20 * time.Second

func limit(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), maxWait)
	t.Cleanup(cancel)
	return ctx
}

func record(id string) driver.Record {
	return driver.Record{
		ID: id, Plane: "p", Instance: "i-" + id, Mode: modes.Auto, State: modes.StateHotStandby,
		Version: "1.0.0", URI: "http://" + id, Started: time.Unix(1, 0).UTC(), Since: time.Unix(2, 0).UTC(),
	}
}

func join(t *testing.T, lab Lab, id string) driver.Presence {
	t.Helper()
	m, err := lab.Node(id).Join(limit(t), record(id))
	if err != nil {
		t.Fatalf("join %s: %v", id, err)
	}
	return m
}

func elect(t *testing.T, m driver.Presence) driver.Term {
	t.Helper()
	return win(t, m, Candidate{})
}

// campaign is a campaign under way.
type campaign struct {
	cancel context.CancelFunc
	done   chan struct{}
	term   driver.Term
	err    error
}

func start(t *testing.T, m driver.Presence, as Candidate) *campaign {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c := &campaign{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		c.term, c.err = as.Lead(ctx, m)
	}()
	t.Cleanup(func() { cancel(); <-c.done })
	return c
}

func (c *campaign) wait(t *testing.T) (driver.Term, error) {
	t.Helper()
	ctx := limit(t)
	select {
	case <-c.done:
		return c.term, c.err
	case <-ctx.Done():
		t.Fatal("campaign does not end")
		return nil, nil
	}
}

// eventually waits until ok returns nil.
func eventually(t *testing.T, ok func() error) {
	t.Helper()
	ctx := limit(t)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(err)
		}
	}
}

func plane(t *testing.T, lab Lab) driver.Plane {
	t.Helper()
	p, err := lab.Node("observer").Plane(limit(t))
	if err != nil {
		t.Fatalf("plane: %v", err)
	}
	return p
}

// queued waits until the node stands in the election.
func queued(t *testing.T, lab Lab, id string) {
	t.Helper()
	eventually(t, func() error {
		p := plane(t, lab)
		if m, _ := p.Member(id); m.Candidacy == 0 {
			return errors.New(id + " is not in the election")
		}
		return nil
	})
}

func over(t *testing.T, term driver.AnyTerm) {
	t.Helper()
	select {
	case <-term.Context().Done():
		if cause := context.Cause(term.Context()); !errors.Is(cause, driver.ErrTermOver) {
			t.Errorf("cause = %v, want ErrTermOver", cause)
		}
	case <-limit(t).Done():
		t.Fatal("term does not end")
	}
}

func put(name rebind.Name, payload string) rebind.Op {
	return rebind.Op{Name: name, Put: &rebind.Content{ContentType: "text/plain; charset=utf-8", Parent: "entity/p", Schema: 3, Payload: []byte(payload)}}
}

func commit(t *testing.T, term driver.AnyTerm, id string, base []rebind.Revision, ops ...rebind.Op) rebind.Revision {
	t.Helper()
	rev, err := term.Commit(limit(t), driver.Writes(rebind.Delta{ID: id, Ops: ops}, base))
	if err != nil {
		t.Fatalf("commit %s: %v", id, err)
	}
	return rev
}

func load(t *testing.T, lab Lab) (map[rebind.Name]rebind.Change, rebind.Revision) {
	t.Helper()
	found := make(map[rebind.Name]rebind.Change)
	rev, err := lab.Node("observer").Load(limit(t), func(p driver.Page) error {
		for _, c := range p.Changes {
			found[c.Name] = c
		}
		return nil
	})
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	return found, rev
}
