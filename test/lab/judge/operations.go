package judge

import (
	"slices"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// operations judges the answers to clients' writes by the store's history.
//
//   - I-6: an acknowledged write is there, at its revision
//   - I-7: a memento is never anything but what a client has asked for, so nothing is
//     brought back
//   - I-8: a refused write has no effect, an unknown one has it once or never, and no
//     operation is applied twice
//   - I-14: the changes of one operation are made at one revision, or none of them is
func (t *trial) operations() {
	for i := range t.run.Ops {
		op := &t.run.Ops[i]
		t.verdict.Operations[op.Outcome]++
		if op.Read == nil {
			t.written(op)
		}
	}
	t.unasked()
	t.appliedOnce()
}

// written judges one operation.
func (t *trial) written(op *evidence.Op) {
	switch op.Outcome {
	case evidence.OK:
		t.acknowledged(op, op.Revision)
	case evidence.Refused:
		for _, c := range op.Changes {
			if at := t.put(&c); at != 0 {
				t.broken("I-8", at, "%s of %s was refused (%s), and is there", c.Name, op.Client, op.Why)
			}
		}
	case evidence.Unknown:
		for _, c := range op.Changes {
			if at := t.put(&c); at != 0 {
				t.whole(op, at)
				return
			}
		}
	}
}

// put returns the revision at which a change was made, if that can be known: a deletion
// leaves no trace of who made it.
func (t *trial) put(c *evidence.Change) int64 {
	if c.Delete {
		return 0
	}
	return t.history.put(c.Name, c.Payload)
}

// made reports whether a change is the state at a revision.
func (t *trial) made(c *evidence.Change, revision int64) bool {
	v := t.history.at(c.Name, revision)
	if c.Delete {
		return v.deleted
	}
	return !v.deleted && v.revision == revision && v.payload == c.Payload
}

// acknowledged judges a write that was acknowledged.
func (t *trial) acknowledged(op *evidence.Op, revision int64) {
	made := 0
	for i := range op.Changes {
		if t.made(&op.Changes[i], revision) {
			made++
		}
	}
	switch {
	case made == len(op.Changes):
	case made > 0 && slices.ContainsFunc(op.Changes, func(c evidence.Change) bool { return !c.Delete && t.made(&c, revision) }):
		t.whole(op, revision)
	default:
		t.broken("I-6", revision, "acknowledged write of %s to %s is not there", op.Client, op.Changes[0].Name)
	}
}

// whole checks that all changes of an operation were made at one revision.
func (t *trial) whole(op *evidence.Op, revision int64) {
	for i := range op.Changes {
		if c := &op.Changes[i]; !t.made(c, revision) {
			t.broken("I-14", revision, "of %d changes by %s that of %s is missing", len(op.Changes), op.Client, c.Name)
		}
	}
}

// unasked finds changes in the store that no client has asked for. It considers only
// mementos that the clients' records name: others may have been written by somebody who
// kept no records.
func (t *trial) unasked() {
	asked := make(map[string]map[string]bool) // payloads, by memento
	done := make(map[string]map[int64]bool)   // deletions that were acknowledged, by memento
	doubtful := make(map[string]int)          // deletions that were not
	for i := range t.run.Ops {
		op := &t.run.Ops[i]
		for _, c := range op.Changes {
			if asked[c.Name] == nil {
				asked[c.Name], done[c.Name] = make(map[string]bool), make(map[int64]bool)
			}
			switch {
			case op.Outcome == evidence.Refused && c.Delete:
			case !c.Delete: // refused ones are judged elsewhere
				asked[c.Name][c.Payload] = true
			case op.Outcome == evidence.OK: // the answer to a repeated deletion has a later revision
				done[c.Name][t.history.at(c.Name, op.Revision).revision] = true
			default:
				doubtful[c.Name]++
			}
		}
	}
	for name := range asked {
		for _, v := range t.history[name] {
			switch {
			case v.byHand:
			case !v.deleted && !asked[name][v.payload]:
				t.broken("I-7", v.revision, "nobody has asked for %.40q in %s", v.payload, name)
			case v.deleted && !done[name][v.revision]:
				if doubtful[name]--; doubtful[name] < 0 {
					t.broken("I-7", v.revision, "nobody has asked for the deletion of %s", name)
				}
			}
		}
	}
}

// appliedOnce finds what was applied twice: an operation id at two revisions, and a payload
// that came back or was written to another memento.
func (t *trial) appliedOnce() {
	written := make(map[string]string) // the memento of each payload
	for i := range t.run.Ops {
		for _, c := range t.run.Ops[i].Changes {
			if !c.Delete {
				written[c.Payload] = c.Name
			}
		}
	}
	operations := make(map[string]int64) // where each id was seen
	for name, versions := range t.history {
		payloads := make(map[string]int) // the version of each payload
		for i, v := range versions {
			if v.deleted || v.byHand || !v.readable {
				continue
			}
			if at, seen := operations[v.op]; seen && at != v.revision {
				t.broken("I-8", max(at, v.revision), "operation %s on %s is at revision %d as well", v.op, name, min(at, v.revision))
				continue
			}
			operations[v.op] = v.revision
			to, unique := written[v.payload]
			first, seen := payloads[v.payload]
			payloads[v.payload] = i
			switch {
			case !unique:
			case to != name:
				t.broken("I-7", v.revision, "%.40q of %s was written to %s", v.payload, name, to)
			case seen && i == first+1:
				t.broken("I-8", v.revision, "%.40q of %s is there since revision %d: applied twice", v.payload, name, versions[first].revision)
			case seen:
				t.broken("I-7", v.revision, "%.40q of %s was there at revision %d: brought back", v.payload, name, versions[first].revision)
			}
		}
	}
}
