package etcdstore_test

import (
	"errors"
	"fmt"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/coordinator/coordtest/storetest"
	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/etcdstore"
	"github.com/coordinator-ha/coordinator/modes"
	"github.com/coordinator-ha/coordinator/rebind"
)

func recordOf(id string) driver.Record {
	return driver.Record{ID: id, Plane: "p", Instance: "i-" + id, Mode: modes.Auto, State: modes.StateHotStandby}
}

func (l *lab) join(id string) driver.Presence {
	l.t.Helper()
	m, err := l.node(id).Join(l.ctx(), recordOf(id))
	l.must(err)
	return m
}

func (l *lab) elect(m driver.Presence) driver.Term {
	l.t.Helper()
	term, err := storetest.Candidate{}.Lead(l.ctx(), m)
	l.must(err)
	return term
}

func put(name rebind.Name, payload string) rebind.Op {
	return rebind.Op{Name: name, Put: &rebind.Content{Payload: []byte(payload)}}
}

func (l *lab) commit(term driver.Term, op string, base rebind.Revision, ops ...rebind.Op) (rebind.Revision, error) {
	bases := make([]rebind.Revision, len(ops))
	for i := range bases {
		bases[i] = base
	}
	return term.Commit(l.ctx(), driver.Writes(rebind.Delta{ID: op, Ops: ops}, bases))
}

// payload reads a memento past the store; empty if there is none.
func (l *lab) payload(name rebind.Name) string {
	l.t.Helper()
	resp := l.get(l.key("mementos/" + string(name)))
	if len(resp.Kvs) == 0 {
		return ""
	}
	c, _, _, _, err := etcdstore.Decode(resp.Kvs[0].Value)
	l.must(err)
	return string(c.Payload)
}

// Promise: a write of a deposed master is refused by etcd itself. The master here
// knows nothing: neither its clock nor a watch tells it that its lease is gone.
func TestFence_RefusesADeposedMasterThatDoesNotKnow(t *testing.T) {
	depose := map[string]func(l *lab){
		"lease revoked":        func(l *lab) { l.Revoke("a") },
		"election key deleted": func(l *lab) { l.DeleteCandidate("a") },
	}
	for name, by := range depose {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			old := etcdstore.Blind(l.elect(l.join("a")))
			if _, err := l.commit(old, "before", 0, put("entity/x", "1")); err != nil {
				t.Fatalf("a term in force is refused: %v", err)
			}
			by(l)
			l.elect(l.join("b"))
			if _, err := l.commit(old, "after", 0, put("entity/y", "late")); !errors.Is(err, driver.ErrFenced) {
				t.Errorf("commit = %v, want ErrFenced", err)
			}
			if err := old.Announce(l.ctx(), recordOf("a"), driver.HistoryEntry{Term: old.Number()}); !errors.Is(err, driver.ErrFenced) {
				t.Errorf("announce = %v, want ErrFenced", err)
			}
			if err := old.Publish(l.ctx(), recordOf("a")); !errors.Is(err, driver.ErrFenced) {
				t.Errorf("publish = %v, want ErrFenced", err)
			}
			if err := old.Offer(l.ctx(), &driver.Offer{ID: "h"}); !errors.Is(err, driver.ErrFenced) {
				t.Errorf("offer = %v, want ErrFenced", err)
			}
			if got := l.payload("entity/y"); got != "" {
				t.Errorf("the late write is in the store: %q", got)
			}
		})
	}
}

// Before anybody else has won, a master whose key is gone is refused as well.
func TestFence_RefusesAMasterWithoutItsKeyAlthoughItsRecordStands(t *testing.T) {
	l := newLab(t)
	old := etcdstore.Blind(l.elect(l.join("a")))
	l.DeleteCandidate("a")
	if _, err := l.commit(old, "op", 0, put("entity/x", "1")); !errors.Is(err, driver.ErrFenced) {
		t.Errorf("commit = %v, want ErrFenced", err)
	}
}

// The own key alone proves too little: a waiting candidate has one, too.
func TestFence_RefusesAMasterWhoseTermRecordWasReplaced(t *testing.T) {
	l := newLab(t)
	old := etcdstore.Blind(l.elect(l.join("a")))
	_, err := l.raw.Put(l.ctx(), l.key("term"), `{"term":999,"key":"elsewhere","node":"z"}`)
	l.must(err)
	if _, err := l.commit(old, "op", 0, put("entity/x", "1")); !errors.Is(err, driver.ErrFenced) {
		t.Errorf("commit = %v, want ErrFenced", err)
	}
}

// Promise: the turn in the queue is a hint. etcd's election hands "victory" to a
// candidate whose lease has died in the queue; only the term transaction counts.
func TestCampaign_DeadCandidateNeverHoldsATerm(t *testing.T) {
	l := newLab(t)
	master := l.elect(l.join("a"))
	dead := l.join("b")
	type result struct {
		term driver.Term
		err  error
	}
	won := make(chan result, 1)
	go func() {
		term, err := storetest.Candidate{}.Lead(l.t.Context(), dead)
		won <- result{term, err}
	}()
	l.eventually("b stands in the election", func() bool {
		return len(l.get(l.key("election/"), prefixOption).Kvs) == 2
	})
	l.Revoke("b")
	l.must(master.Resign(l.ctx(), recordOf("a")))
	r := <-won
	if r.term != nil || !errors.Is(r.err, driver.ErrLeaseLost) {
		t.Errorf("candidate without a lease got term %v, error %v", r.term, r.err)
	}
	history := l.get(l.key("term"))
	if len(history.Kvs) != 1 || history.Kvs[0].Version != 1 {
		t.Errorf("term record was written %d times, want once, by a", history.Kvs[0].Version)
	}
}

// Promise: terms rise, whoever spoils the record of the last one and whoever is next,
// although the key of that one is older and it has never heard of the term.
func TestCampaign_TermsRiseThoughTheRecordIsGone(t *testing.T) {
	lose := map[string]func(l *lab){
		"deleted": func(l *lab) { l.DeleteTerm() },
		"garbled": func(l *lab) {
			_, err := l.raw.Put(l.ctx(), l.key("term"), "no record")
			l.must(err)
		},
	}
	for name, lost := range lose {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			b := l.join("b")
			lease := l.leaseOf("b")
			_, err := l.raw.Put(l.ctx(), l.key(fmt.Sprintf("election/%x", lease)), "b", clientv3.WithLease(lease))
			l.must(err)
			ahead := storetest.Candidate{Jump: true} // of b, which is the first in the queue
			last, err := ahead.Lead(l.ctx(), l.join("a"))
			l.must(err)
			lost(l)
			if term := l.elect(b); term.Number() <= last.Number() {
				t.Errorf("term %d follows %d", term.Number(), last.Number())
			}
		})
	}
}
