package judge

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// recordsTold judges the nodes' records by the state before they were published.
//
//   - I-24: a record and a candidate have a lease
//   - I-26: a record is the node's own, and says MASTER only within the term it names
//   - I-5: a node that becomes MASTER is in a mode that may lead
func (t *trial) recordsTold(events []evidence.Event) {
	for i := range events {
		ev := &events[i]
		node, ours := strings.CutPrefix(ev.Key, "nodes/")
		if !ours || ev.Deleted {
			continue
		}
		if ev.Lease == 0 {
			t.broken("I-24", ev.Revision, "the record of %s has no lease", node)
		}
		var r record
		switch err := json.Unmarshal(ev.Value, &r); {
		case err != nil || r.ID != node:
			t.broken("I-26", ev.Revision, "the record of %s is %.40q: %v", node, ev.Value, err)
		case r.State != "MASTER":
		case !t.now.fenced() || r.Term != t.now.term.Number || node != t.now.term.Node:
			t.broken("I-26", ev.Revision, "%s says it is MASTER of term %d, the last one is %d of %s, held: %t",
				node, r.Term, t.now.term.Number, t.now.term.Node, t.now.fenced())
		case t.now.records[node].State != "MASTER" && !promotable(r.Mode):
			t.broken("I-5", ev.Revision, "%s becomes MASTER in mode %s", node, r.Mode)
		}
	}
}

// oneMaster checks that no two records say MASTER.
//
//   - I-26: not at one revision
func (t *trial) oneMaster(revision int64) {
	var masters []string
	for node, r := range t.now.records {
		if r.State == "MASTER" && !r.byHand {
			masters = append(masters, node)
		}
	}
	if len(masters) > 1 {
		slices.Sort(masters)
		t.broken("I-26", revision, "%v all say they are MASTER", masters)
	}
}

// The states of a node that may be a candidate, and so be given a term. The state decides
// and not the mode: a node whose mode is changed leaves the election first and says so in
// its state afterwards, while its record names the new mode at once. In between it may even
// be given a term, which it gives up.
var electable = []string{"STANDBY", "HOT_STANDBY"}

// promotable reports whether a node in this mode may ever lead in a plane with others.
func promotable(mode string) bool { return mode != "hot_backup" && mode != "disabled" }

// candidaciesAllowed judges the candidates by the records of their nodes, after both are
// applied. They have one lease.
//
//   - I-5: a node is a candidate only as a standby or as the master; an initializing
//     node only once it has been given a term
//   - I-24: a candidate has the lease of its node's record. A candidate that was sent
//     before its node left may come after, and goes with that lease
func (t *trial) candidaciesAllowed(events []evidence.Event) {
	for i := range events {
		ev := &events[i]
		dir, node, _ := strings.Cut(ev.Key, "/")
		if ev.Deleted || dir != "nodes" && dir != "election" {
			continue
		}
		if dir == "election" {
			node = string(ev.Value)
		}
		r, live := t.now.records[node]
		if lease, gone := t.now.left[node]; dir == "election" && !live && gone && lease == ev.Lease {
			continue
		}
		key := fmt.Sprintf("election/%x", r.lease)
		if dir == "election" && !r.byHand && (ev.Key != key || ev.Lease != r.lease) {
			t.broken("I-24", ev.Revision, "%s of %s hangs on lease %x, its record on %x", ev.Key, node, ev.Lease, r.lease)
			continue
		}
		c, stands := t.now.candidates[key]
		if !stands || r.byHand || r.State == "" || slices.Contains(electable, r.State) {
			continue
		}
		// A candidate that has led is out, although its key may last for a while.
		if r.State != "MASTER" && (r.State != "INITIALIZING" || !t.led[candidacy{key, c.created}]) {
			t.broken("I-5", ev.Revision, "%s stands for election while it is %s", node, r.State)
		}
	}
}
