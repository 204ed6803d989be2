package judge

import (
	"strings"
	"time"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// copies judges the content of the nodes' mirrors.
//
//   - I-12: it is what the store had at that revision, byte for byte
//   - I-13: a mirror does not go back
func (t *trial) copies() {
	byRevision := sorted(t.run.Copies, func(c *evidence.Copy) int64 { return c.Revision })
	stands := make(map[string]memento)
	done := 0         // events that have been applied
	var digest string // of the current state
	stale := true     // the digest is out of date
	for i := range byRevision {
		c := &byRevision[i]
		for done < len(t.run.Events) && t.run.Events[done].Revision <= c.Revision {
			stale = standing(stands, &t.run.Events[done]) || stale
			done++
		}
		if stale {
			digest, stale = digestOf(stands), false
		}
		t.verdict.Copies++
		if count := len(stands); c.Count != count || c.Digest != digest {
			t.broken("I-12", c.Revision, "the copy of %s at %s differs from the store: %d mementos, want %d", c.Node, c.At, c.Count, count)
		}
	}
	last := make(map[string]int64)
	for _, c := range sorted(t.run.Copies, func(c *evidence.Copy) time.Duration { return c.At }) {
		if c.Revision < last[c.Node] {
			t.brokenAt("I-13", c.At, "the copy of %s goes back from revision %d to %d", c.Node, last[c.Node], c.Revision)
		}
		last[c.Node] = c.Revision
	}
}

// standing applies an event to the mementos that a mirror should have, and reports whether
// it was one of a memento. Mirrors keep garbage separately.
func standing(mementos map[string]memento, ev *evidence.Event) bool {
	name, ours := strings.CutPrefix(ev.Key, "mementos/")
	if !ours {
		return false
	}
	m, err := readMemento(ev.Value, ev.Revision)
	set(mementos, name, ev.Deleted || err != nil, m)
	return true
}

func digestOf(mementos map[string]memento) string {
	var all []evidence.Memento
	for name, m := range mementos {
		all = append(all, evidence.Memento{Name: name, Payload: m.payload, Modified: m.modified})
	}
	return evidence.Digest(all)
}

// reads judges what clients read.
//
//   - I-12: it is what the store had at the revision in the answer
//   - I-13: a client that asks only one node does not go back
func (t *trial) reads() {
	type session struct{ client, node string }
	last := make(map[session]int64)
	for _, op := range sorted(t.run.Ops, func(op *evidence.Op) time.Duration { return op.Sent }) {
		r := op.Read
		if r == nil || op.Outcome != evidence.OK {
			continue
		}
		t.verdict.Reads++
		v := t.history.at(r.Name, op.Revision)
		if r.Found == v.deleted || r.Found && (r.Payload != v.payload || r.Modified != v.revision) {
			t.broken("I-12", op.Revision, "%s reads %s through %s: found %t, %.40q of revision %d; the store has %t, %.40q of revision %d",
				op.Client, r.Name, op.Node, r.Found, r.Payload, r.Modified, !v.deleted, v.payload, v.revision)
		}
		s := session{op.Client, op.Node}
		if op.Revision < last[s] {
			t.brokenAt("I-13", op.Sent, "%s reads through %s at revision %d, after it has at %d", op.Client, op.Node, op.Revision, last[s])
		}
		last[s] = op.Revision
	}
}
